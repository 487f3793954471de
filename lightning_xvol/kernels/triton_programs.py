"""PSSA's `dot` and `hadamard` as Triton programs: the forward pass, and all five gradients at once.

    y_p = sum_j (w_j R(q_p * k_(sp + o_j)) + u_j) v_(sp + o_j)

for query positions p, stride s and tap offsets o_j, with zeros outside the map. w and u have a row per head or per
channel.

* `dot`: R sums over the channels of a head and gives each channel this sum.
* `hadamard`: R does nothing. A factor that all taps share is taken out of their sum, which saves registers.

How a program works:

* It computes tiles of channels x positions. Positions are counted through all images of the batch, so that small maps
  fill a tile.
* The axis that is contiguous in memory comes last in a tile: channels in channels_last, else positions.
* Everything is gathered, without atomics, and every sum has a fixed order. So every run gives the same bits.
* `ACC` is the type of all arithmetic. Offsets are 64-bit.
"""

# Only `kernels/triton.py` imports this module, on the first launch, since Triton may not be installed.

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
    """The program for a tile of query positions and a group of channels writes its tile of y.

    `group` is the number of channels of a group: d with heads, else `BLOCK_C`. [rows, columns] is the grid of the query
    and [height, width] the grid of key and value.
    """
    channel, there = _channels(group, channels, CHANNEL_AXIS, BLOCK_C)
    start = tl.program_id(0).to(tl.int64) * BLOCK_P
    image, row, column, valid = _positions(start, positions, rows, columns, CHANNEL_AXIS, BLOCK_P)
    valid = valid & there
    q = tl.load(_pointer(query, query_strides, image, channel, row, column), mask=valid, other=0.0).to(ACC)
    key_row, key_column = row * STRIDE, column * STRIDE
    keys = _pointer(key, key_strides, image, channel, key_row, key_column)
    values = _pointer(value, value_strides, image, channel, key_row, key_column)
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
    """The program for a run of `steps` tiles of key positions and a group of channels. g is the gradient of y.

    For each key position n it writes, with p = (n - o_j) / s wherever that is a query position,

    * `dk_n = sum_j w_j R(g_p * v_n) q_p`,
    * `dv_n = sum_j (w_j R(q_p * k_n) + u_j) g_p`.

    If n is also the query position s p, it writes

    * `dq_p = sum_j w_j R(g_p * v_(n + o_j)) k_(n + o_j)`

    and adds to the row of its run in the partial sums `[runs, G, T]`

    * `dw_j = sum_p R(q_p * k_(n + o_j)) R(g_p * v_(n + o_j))`,
    * `du_j = sum_p R(g_p * v_(n + o_j))`.
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
        queries = _pointer(query, query_strides, image, channel, row // STRIDE, column // STRIDE)
        grads = _pointer(grad, grad_strides, image, channel, row // STRIDE, column // STRIDE)
        keys = _pointer(key, key_strides, image, channel, row, column)
        values = _pointer(value, value_strides, image, channel, row, column)

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
                    query_at = _pointer(query, query_strides, image, channel, from_row // STRIDE, from_column // STRIDE)
                    grad_at = _pointer(grad, grad_strides, image, channel, from_row // STRIDE, from_column // STRIDE)
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
    slots = (tl.program_id(0).to(tl.int64) * entries + entry) * (8 * len(DISTANCES)) + slot
    filled = (entry < entries) & (slot < 8 * len(DISTANCES))
    tl.store(partial_weight + slots, sums_weight, mask=filled)
    if static is not None:
        tl.store(partial_static + slots, sums_static, mask=filled)


@triton.jit
def _channels(group, channels, CHANNEL_AXIS: tl.constexpr, BLOCK_C: tl.constexpr):
    """The channels of this program, and a mask of those that exist."""
    within = tl.expand_dims(tl.arange(0, BLOCK_C), 1 - CHANNEL_AXIS)
    channel = tl.program_id(1).to(tl.int64) * group + within
    return channel, (within < group) & (channel < channels)


@triton.jit
def _distance(ring, DISTANCES: tl.constexpr):
    """The distance of a ring of eight taps. The rings are a loop: unrolled, their loads would fill all registers."""
    distance = 0
    for index in tl.static_range(len(DISTANCES)):
        distance = tl.where(ring == index, DISTANCES[index], distance)
    return distance


@triton.jit
def _offset(ring, distance, direction: tl.constexpr):
    """Number, row and column of a tap, in the order of `Spec.offsets`."""
    cell: tl.constexpr = direction + direction // 4  # the cell of a 3x3, without the middle one
    return ring * 8 + direction, distance * (cell // 3 - 1), distance * (cell % 3 - 1)


@triton.jit
def _entry(table, tap, channels, channel, there, PER_HEAD: tl.constexpr):
    """The weight of tap `tap` in a table `[T, G]` for the head or the channels of this program."""
    if PER_HEAD:
        entry = tl.load(table + tap * tl.num_programs(1) + tl.program_id(1))
    else:
        entry = tl.load(table + tap * channels + channel, mask=there, other=0.0)
    return entry


@triton.jit
def _positions(start, positions, rows, columns, CHANNEL_AXIS: tl.constexpr, BLOCK_P: tl.constexpr):
    """Image, row and column of `BLOCK_P` positions, and a mask of those that exist. Only `start` needs 64 bits."""
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
    """R of `dot`: the sum over the channels."""
    return tl.sum(x, CHANNEL_AXIS, keep_dims=True)


@triton.jit
def _summed(x, here, CHANNEL_AXIS: tl.constexpr):
    """The sum of a tile over its positions at the tap that is `here`, zero at the other taps: `[G, T]`."""
    return tl.where(here, tl.expand_dims(tl.sum(x, 1 - CHANNEL_AXIS), 1), 0.0)


@triton.jit
def _store(pointer, strides, image, channel, row, column, mask, x):
    tl.store(_pointer(pointer, strides, image, channel, row, column), x.to(pointer.dtype.element_ty), mask=mask)


@triton.jit
def _pointer(pointer, strides, image, channel, row, column):
    """Where the entry of these indices is in memory."""
    return pointer + (
        image * strides[0] + channel * strides[1] + row.to(tl.int64) * strides[2] + column.to(tl.int64) * strides[3]
    )


@triton.jit
def _step(strides, down, right):
    """The distance between two pointers that are `down` rows and `right` columns apart."""
    return down.to(tl.int64) * strides[2] + right.to(tl.int64) * strides[3]
