"""PSSA's `dot` and `hadamard` as Triton programs: forward, and all five gradients at once.

    y_p = sum_j (w_j R(q_p * k_(sp + o_j)) + u_j) v_(sp + o_j)

for query positions p, stride s and tap offsets o_j, nothing outside the map. R sums over the channels of a head and
gives each the sum (`dot`), or does nothing (`hadamard`): there a factor that all taps share leaves their sum, which
saves registers. w and u have a row per head or per channel.

A program works on tiles of channels x positions. Positions are counted through the images of the batch, so that small
maps fill a tile. The axis that is contiguous in memory comes last in a tile: channels in channels_last, else positions.
Everything is gathered and every sum has a fixed order: no atomics, and the same bits in every run. `ACC` is the type of
all arithmetic. Offsets are 64-bit.
"""

# Only `triton` imports this module, on the first launch: Triton is not everywhere.

import torch
import triton
import triton.language as tl

ACCUMULATORS = {torch.float32: tl.float32, torch.float64: tl.float64}  # `ACC`


@triton.jit
def forward(
    output, query, key, value, weight, static,
    output_strides, query_strides, key_strides, value_strides,
    positions, channels, group, height, width, rows, columns,
    DISTANCES: tl.constexpr, STRIDE: tl.constexpr, PER_HEAD: tl.constexpr,
    CHANNEL_AXIS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Program (tile of query positions, group of channels) writes its tile of y.

    `group` is how many channels the groups have: d, or `BLOCK_C` where there are no heads; [rows, columns] is the
    query's grid and [height, width] that of key and value.
    """
    channel, there = _channels(group, channels, CHANNEL_AXIS, BLOCK_C)
    start = tl.program_id(0).to(tl.int64) * BLOCK_P
    image, row, column, valid = _positions(start, positions, rows, columns, CHANNEL_AXIS, BLOCK_P)
    valid = valid & there
    q = tl.load(_place(query, query_strides, image, channel, row, column), mask=valid, other=0.0).to(ACC)
    key_row, key_column = row * STRIDE, column * STRIDE
    keys = _place(key, key_strides, image, channel, key_row, key_column)
    values = _place(value, value_strides, image, channel, key_row, key_column)
    y, product = tl.zeros_like(q), tl.zeros_like(q)
    for ring in range(len(DISTANCES)):
        distance = _distance(ring, DISTANCES)
        for direction in tl.static_range(8):
            tap, down, right = _offset(ring, distance, direction)
            inside = valid & _inside(key_row + down, key_column + right, height, width)
            k = tl.load(keys + _step(key_strides, down, right), mask=inside, other=0.0).to(ACC)
            v = tl.load(values + _step(value_strides, down, right), mask=inside, other=0.0).to(ACC)
            w = _entry(weight, tap, channels, channel, there, PER_HEAD)
            if PER_HEAD:
                product += w * _total(q * k, CHANNEL_AXIS) * v
            else:
                product += w * (k * v)
            if static is not None:
                y += _entry(static, tap, channels, channel, there, PER_HEAD) * v
    y += product if PER_HEAD else q * product
    _store(output, output_strides, image, channel, row, column, valid, y)


@triton.jit
def backward(
    grad_query, grad_key, grad_value, partial_weight, partial_static,
    grad, query, key, value, weight, static,
    grad_query_strides, grad_key_strides, grad_value_strides,
    grad_strides, query_strides, key_strides, value_strides,
    positions, channels, group, height, width, rows, columns, steps,
    DISTANCES: tl.constexpr, STRIDE: tl.constexpr, PER_HEAD: tl.constexpr,
    CHANNEL_AXIS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_T: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Program (run of `steps` tiles of key positions, group of channels), where g is the gradient of y.

    As a key position n it writes `dk_n = sum_j w_j R(g_p * v_n) q_p` and `dv_n = sum_j (w_j R(q_p * k_n) + u_j) g_p`,
    with p = (n - o_j) / s where that is a query position. If n itself is one, s p, it writes `dq_p = sum_j w_j
    R(g_p * v_(n + o_j)) k_(n + o_j)` and adds to its run's row of the partial sums `[runs, G, T]`: `dw_j = sum_p
    R(q_p * k_(n + o_j)) R(g_p * v_(n + o_j))` and `du_j = sum_p R(g_p * v_(n + o_j))`.
    """
    channel, there = _channels(group, channels, CHANNEL_AXIS, BLOCK_C)
    slot = tl.expand_dims(tl.arange(0, BLOCK_T), 0)  # [1, T]
    sums_weight = tl.zeros((1 if PER_HEAD else BLOCK_C, BLOCK_T), ACC)  # [G, T]
    sums_static = tl.zeros((1 if PER_HEAD else BLOCK_C, BLOCK_T), ACC)
    for step in range(steps):
        start = (tl.program_id(0).to(tl.int64) * steps + step) * BLOCK_P
        image, row, column, valid = _positions(start, positions, height, width, CHANNEL_AXIS, BLOCK_P)
        valid = valid & there

        on_grid = valid & (row % STRIDE == 0) & (column % STRIDE == 0)
        queries = _place(query, query_strides, image, channel, row // STRIDE, column // STRIDE)
        grads = _place(grad, grad_strides, image, channel, row // STRIDE, column // STRIDE)
        keys = _place(key, key_strides, image, channel, row, column)
        values = _place(value, value_strides, image, channel, row, column)

        q = tl.load(queries, mask=on_grid, other=0.0).to(ACC)
        g = tl.load(grads, mask=on_grid, other=0.0).to(ACC)
        dq, qg = tl.zeros_like(q), q * g
        for ring in range(len(DISTANCES)):
            distance = _distance(ring, DISTANCES)
            for direction in tl.static_range(8):
                tap, down, right = _offset(ring, distance, direction)
                inside = on_grid & _inside(row + down, column + right, height, width)
                k = tl.load(keys + _step(key_strides, down, right), mask=inside, other=0.0).to(ACC)
                v = tl.load(values + _step(value_strides, down, right), mask=inside, other=0.0).to(ACC)
                w = _entry(weight, tap, channels, channel, there, PER_HEAD)
                if PER_HEAD:
                    du = _total(g * v, CHANNEL_AXIS)
                    dw = _total(q * k, CHANNEL_AXIS) * du
                    dq += w * du * k
                else:
                    du, dw = g * v, qg * (k * v)
                    dq += w * (k * v)
                sums_weight += _summed(dw, slot == tap, CHANNEL_AXIS)
                if static is not None:
                    sums_static += _summed(du, slot == tap, CHANNEL_AXIS)
        if not PER_HEAD:
            dq *= g
        _store(grad_query, grad_query_strides, image, channel, row // STRIDE, column // STRIDE, on_grid, dq)

        k = tl.load(keys, mask=valid, other=0.0).to(ACC)
        v = tl.load(values, mask=valid, other=0.0).to(ACC)
        dk, dv = tl.zeros_like(k), tl.zeros_like(v)
        for ring in range(len(DISTANCES)):
            distance = _distance(ring, DISTANCES)
            for direction in tl.static_range(8):
                tap, down, right = _offset(ring, distance, direction)
                from_row, from_column = row - down, column - right
                inside = valid & _inside(from_row, from_column, rows * STRIDE, columns * STRIDE)
                if STRIDE == 1:
                    query_at = queries - _step(query_strides, down, right)
                    grad_at = grads - _step(grad_strides, down, right)
                else:
                    inside = inside & (from_row % STRIDE == 0) & (from_column % STRIDE == 0)
                    query_at = _place(query, query_strides, image, channel, from_row // STRIDE, from_column // STRIDE)
                    grad_at = _place(grad, grad_strides, image, channel, from_row // STRIDE, from_column // STRIDE)
                q = tl.load(query_at, mask=inside, other=0.0).to(ACC)
                g = tl.load(grad_at, mask=inside, other=0.0).to(ACC)
                w = _entry(weight, tap, channels, channel, there, PER_HEAD)
                if PER_HEAD:
                    dk += w * _total(g * v, CHANNEL_AXIS) * q
                    dv += w * _total(q * k, CHANNEL_AXIS) * g
                else:
                    dk += w * (q * g)
                if static is not None:
                    dv += _entry(static, tap, channels, channel, there, PER_HEAD) * g
        if not PER_HEAD:
            dv += dk * k
            dk *= v
        _store(grad_key, grad_key_strides, image, channel, row, column, valid, dk)
        _store(grad_value, grad_value_strides, image, channel, row, column, valid, dv)

    if PER_HEAD:
        entry, entries = tl.program_id(1) + tl.zeros((1, 1), tl.int64), tl.num_programs(1)
    else:
        entry = tl.program_id(1).to(tl.int64) * BLOCK_C + tl.expand_dims(tl.arange(0, BLOCK_C), 1)
        entries = channels
    place = (tl.program_id(0).to(tl.int64) * entries + entry) * (8 * len(DISTANCES)) + slot
    filled = (entry < entries) & (slot < 8 * len(DISTANCES))
    tl.store(partial_weight + place, sums_weight, mask=filled)
    if static is not None:
        tl.store(partial_static + place, sums_static, mask=filled)


@triton.jit
def _channels(group, channels, CHANNEL_AXIS: tl.constexpr, BLOCK_C: tl.constexpr):
    """The channels of this program, and which of them there are."""
    within = tl.expand_dims(tl.arange(0, BLOCK_C), 1 - CHANNEL_AXIS)
    channel = tl.program_id(1).to(tl.int64) * group + within
    return channel, (within < group) & (channel < channels)


@triton.jit
def _distance(ring, DISTANCES: tl.constexpr):
    """Of a ring of eight taps. The rings are a loop: unrolled, their loads would take all registers at once."""
    distance = 0
    for index in tl.static_range(len(DISTANCES)):
        distance = tl.where(ring == index, DISTANCES[index], distance)
    return distance


@triton.jit
def _offset(ring, distance, direction: tl.constexpr):
    """Number, row and column of a tap, in the order of `Spec.offsets`."""
    place: tl.constexpr = direction + direction // 4  # in a 3x3 without its middle
    return ring * 8 + direction, distance * (place // 3 - 1), distance * (place % 3 - 1)


@triton.jit
def _entry(table, tap, channels, channel, there, PER_HEAD: tl.constexpr):
    """Tap `tap` of a table `[T, G]` for the head or the channels of this program."""
    if PER_HEAD:
        entry = tl.load(table + tap * tl.num_programs(1) + tl.program_id(1))
    else:
        entry = tl.load(table + tap * channels + channel, mask=there, other=0.0)
    return entry


@triton.jit
def _positions(start, positions, rows, columns, CHANNEL_AXIS: tl.constexpr, BLOCK_P: tl.constexpr):
    """Image, row and column of `BLOCK_P` positions, and which of them there are. Only `start` is divided in 64 bits."""
    count = tl.arange(0, BLOCK_P)
    within = (start % (rows * columns)).to(tl.int32) + count
    image = start // (rows * columns) + within // (rows * columns)
    row, column = within % (rows * columns) // columns, within % columns
    return (
        tl.expand_dims(image, CHANNEL_AXIS),
        tl.expand_dims(row, CHANNEL_AXIS),
        tl.expand_dims(column, CHANNEL_AXIS),
        tl.expand_dims(start + count < positions, CHANNEL_AXIS),
    )


@triton.jit
def _inside(row, column, rows, columns):
    return (row >= 0) & (row < rows) & (column >= 0) & (column < columns)


@triton.jit
def _total(x, CHANNEL_AXIS: tl.constexpr):
    """R of `dot`."""
    return tl.sum(x, CHANNEL_AXIS, keep_dims=True)


@triton.jit
def _summed(x, here, CHANNEL_AXIS: tl.constexpr):
    """The sum of a tile over its positions, `[G, T]`: at the tap that is `here`, else zero."""
    return tl.where(here, tl.expand_dims(tl.sum(x, 1 - CHANNEL_AXIS), 1), 0.0)


@triton.jit
def _store(pointer, strides, image, channel, row, column, mask, x):
    tl.store(_place(pointer, strides, image, channel, row, column), x.to(pointer.dtype.element_ty), mask=mask)


@triton.jit
def _place(pointer, strides, image, channel, row, column):
    return pointer + (
        image * strides[0] + channel * strides[1] + row.to(tl.int64) * strides[2] + column.to(tl.int64) * strides[3]
    )


@triton.jit
def _step(strides, down, right):
    """By how much a pointer moves with `down` rows and `right` columns."""
    return down.to(tl.int64) * strides[2] + right.to(tl.int64) * strides[3]
