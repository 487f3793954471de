"""PSSA's `dot` and `hadamard` as Triton programs: the forward pass, and all five gradients at once.

    y_p = sum_j (w_j R(q_p * k_(sp + o_j)) + u_j) v_(sp + o_j)

for query positions p, stride s and tap offsets o_j, with zeros outside the map. w and u have a row per head or per
channel.

* `dot`: R sums over the channels of a head and gives each channel this sum.
* `hadamard`: R does nothing. A factor that all taps share is taken out of their sum, which saves registers.

How a program works:

* It computes tiles of channels x positions. Either positions are counted through all images of the batch, so that small
  maps fill a tile, or a tile is a rectangle of one image (`TILE_COLUMNS`).
* The axis that is contiguous in memory comes last in a tile: channels in channels_last, else positions.
* Everything is gathered, without atomics, and every sum has a fixed order. So every run gives the same bits.
* `ACC` is the type of all arithmetic. Offsets are 64-bit.
"""

# Only `kernels/triton.py` imports this module, on the first launch, since Triton may not be installed.

import torch
import triton
import triton.language as tl

from lightning_xvol.kernels.triton_functions import (
    head_total,
    is_inside,
    no_sums,
    pointer_step,
    pointer_to,
    program_channels,
    ring_distance,
    store_tile,
    summed_table,
    table_entry,
    tap_offset,
    tile_positions,
    with_added,
)

ACCUMULATORS = {torch.float32: tl.float32, torch.float64: tl.float64}  # `ACC`


@triton.jit
def forward(
    output, query, key, value, weight, static,
    output_strides, query_strides, key_strides, value_strides,
    positions, channels, group, height, width, rows, columns,
    DISTANCES: tl.constexpr, STRIDE: tl.constexpr, PER_HEAD: tl.constexpr,
    CHANNEL_AXIS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, TILE_COLUMNS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """The program for a tile of query positions and a group of channels writes its tile of y.

    `group` is the number of channels of a group: d with heads, else `BLOCK_C`. [rows, columns] is the grid of the query
    and [height, width] the grid of key and value.
    """
    channel, there = program_channels(group, channels, CHANNEL_AXIS, BLOCK_C)
    tile = tl.program_id(0).to(tl.int64)
    image, row, column, valid = tile_positions(tile, positions, rows, columns, CHANNEL_AXIS, BLOCK_P, TILE_COLUMNS)
    valid = valid & there
    q = tl.load(pointer_to(query, query_strides, image, channel, row, column), mask=valid, other=0.0).to(ACC)
    key_row, key_column = row * STRIDE, column * STRIDE
    keys = pointer_to(key, key_strides, image, channel, key_row, key_column)
    values = pointer_to(value, value_strides, image, channel, key_row, key_column)
    y, product = tl.zeros_like(q), tl.zeros_like(q)
    for ring in range(len(DISTANCES)):
        distance = ring_distance(ring, DISTANCES)
        for direction in tl.static_range(8):
            tap, down, right = tap_offset(ring, distance, direction)
            inside = valid & is_inside(key_row + down, key_column + right, height, width)
            k = tl.load(keys + pointer_step(key_strides, down, right), mask=inside, other=0.0).to(ACC)
            v = tl.load(values + pointer_step(value_strides, down, right), mask=inside, other=0.0).to(ACC)
            w = table_entry(weight, tap, channels, channel, there, PER_HEAD)
            if PER_HEAD:
                product += w * head_total(q * k, CHANNEL_AXIS) * v
            else:
                product += w * (k * v)
            if static is not None:
                y += table_entry(static, tap, channels, channel, there, PER_HEAD) * v
    y += product if PER_HEAD else q * product
    store_tile(output, output_strides, image, channel, row, column, valid, y)


# All numbers of steps share one compiled program.
@triton.jit(do_not_specialize=["steps"])
def backward(
    grad_query, grad_key, grad_value, partial_weight, partial_static,
    grad, query, key, value, weight, static,
    grad_query_strides, grad_key_strides, grad_value_strides,
    grad_strides, query_strides, key_strides, value_strides,
    positions, channels, group, height, width, rows, columns, steps,
    DISTANCES: tl.constexpr, STRIDE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    POSITION_SUMS: tl.constexpr, PER_HEAD: tl.constexpr, CHANNEL_AXIS: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr, TILE_COLUMNS: tl.constexpr, BLOCK_T: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The program for a run of `steps` tiles of positions and a group of channels. g is the gradient of y.

    With `KEYS` the positions are those of the keys. For each position n it writes, with p = (n - o_j) / s wherever that
    is a query position,

    * `dk_n = sum_j w_j R(g_p * v_n) q_p`,
    * `dv_n = sum_j (w_j R(q_p * k_n) + u_j) g_p`.

    With `QUERIES` it writes for each query position p, where n = s p,

    * `dq_p = sum_j w_j R(g_p * v_(n + o_j)) k_(n + o_j)`

    and adds to the row of its run in the partial sums `[runs, G, T]`

    * `dw_j = sum_p R(q_p * k_(n + o_j)) R(g_p * v_(n + o_j))`,
    * `du_j = sum_p R(g_p * v_(n + o_j))`.

    Without `KEYS` the positions are those of the queries.
    """
    channel, there = program_channels(group, channels, CHANNEL_AXIS, BLOCK_C)
    slot = tl.expand_dims(tl.arange(0, BLOCK_T), 0)  # [1, T]
    sums_weight = no_sums(DISTANCES, POSITION_SUMS, PER_HEAD, CHANNEL_AXIS, BLOCK_C, BLOCK_P, BLOCK_T, ACC)
    sums_static = sums_weight
    for step in range(steps):
        tile = tl.program_id(0).to(tl.int64) * steps + step
        if KEYS:
            image, row, column, valid = tile_positions(
                tile, positions, height, width, CHANNEL_AXIS, BLOCK_P, TILE_COLUMNS
            )
            valid = valid & there
            query_row, query_column = row // STRIDE, column // STRIDE
            on_grid = valid & (row % STRIDE == 0) & (column % STRIDE == 0)
        else:
            image, query_row, query_column, on_grid = tile_positions(
                tile, positions, rows, columns, CHANNEL_AXIS, BLOCK_P, TILE_COLUMNS
            )
            on_grid = on_grid & there
            row, column = query_row * STRIDE, query_column * STRIDE
        queries = pointer_to(query, query_strides, image, channel, query_row, query_column)
        grads = pointer_to(grad, grad_strides, image, channel, query_row, query_column)
        keys = pointer_to(key, key_strides, image, channel, row, column)
        values = pointer_to(value, value_strides, image, channel, row, column)

        if QUERIES:
            q = tl.load(queries, mask=on_grid, other=0.0).to(ACC)
            g = tl.load(grads, mask=on_grid, other=0.0).to(ACC)
            dq, qg = tl.zeros_like(q), q * g
            for ring in range(len(DISTANCES)):
                distance = ring_distance(ring, DISTANCES)
                for direction in tl.static_range(8):
                    tap, down, right = tap_offset(ring, distance, direction)
                    inside = on_grid & is_inside(row + down, column + right, height, width)
                    k = tl.load(keys + pointer_step(key_strides, down, right), mask=inside, other=0.0).to(ACC)
                    v = tl.load(values + pointer_step(value_strides, down, right), mask=inside, other=0.0).to(ACC)
                    w = table_entry(weight, tap, channels, channel, there, PER_HEAD)
                    if PER_HEAD:
                        du = head_total(g * v, CHANNEL_AXIS)
                        dw = head_total(q * k, CHANNEL_AXIS) * du
                        dq += w * du * k
                    else:
                        du, dw = g * v, qg * (k * v)
                        dq += w * (k * v)
                    sums_weight = with_added(sums_weight, dw, slot, ring, direction, POSITION_SUMS, CHANNEL_AXIS)
                    if static is not None:
                        sums_static = with_added(sums_static, du, slot, ring, direction, POSITION_SUMS, CHANNEL_AXIS)
            if not PER_HEAD:
                dq *= g
            store_tile(grad_query, grad_query_strides, image, channel, query_row, query_column, on_grid, dq)

        if KEYS:
            k = tl.load(keys, mask=valid, other=0.0).to(ACC)
            v = tl.load(values, mask=valid, other=0.0).to(ACC)
            dk, dv = tl.zeros_like(k), tl.zeros_like(v)
            for ring in range(len(DISTANCES)):
                distance = ring_distance(ring, DISTANCES)
                for direction in tl.static_range(8):
                    tap, down, right = tap_offset(ring, distance, direction)
                    from_row, from_column = row - down, column - right
                    inside = valid & is_inside(from_row, from_column, rows * STRIDE, columns * STRIDE)
                    if STRIDE == 1:
                        query_at = queries - pointer_step(query_strides, down, right)
                        grad_at = grads - pointer_step(grad_strides, down, right)
                    else:
                        inside = inside & (from_row % STRIDE == 0) & (from_column % STRIDE == 0)
                        query_at = pointer_to(
                            query, query_strides, image, channel, from_row // STRIDE, from_column // STRIDE
                        )
                        grad_at = pointer_to(
                            grad, grad_strides, image, channel, from_row // STRIDE, from_column // STRIDE
                        )
                    q = tl.load(query_at, mask=inside, other=0.0).to(ACC)
                    g = tl.load(grad_at, mask=inside, other=0.0).to(ACC)
                    w = table_entry(weight, tap, channels, channel, there, PER_HEAD)
                    if PER_HEAD:
                        dk += w * head_total(g * v, CHANNEL_AXIS) * q
                        dv += w * head_total(q * k, CHANNEL_AXIS) * g
                    else:
                        dk += w * (q * g)
                    if static is not None:
                        dv += table_entry(static, tap, channels, channel, there, PER_HEAD) * g
            if not PER_HEAD:
                dv += dk * k
                dk *= v
            store_tile(grad_key, grad_key_strides, image, channel, row, column, valid, dk)
            store_tile(grad_value, grad_value_strides, image, channel, row, column, valid, dv)

    if QUERIES:
        if PER_HEAD:
            entry, entries = tl.program_id(1) + tl.zeros((1, 1), tl.int64), tl.num_programs(1)
        else:
            entry = tl.program_id(1).to(tl.int64) * BLOCK_C + tl.expand_dims(tl.arange(0, BLOCK_C), 1)
            entries = channels
        slots = (tl.program_id(0).to(tl.int64) * entries + entry) * (8 * len(DISTANCES)) + slot
        filled = (entry < entries) & (slot < 8 * len(DISTANCES))
        tl.store(partial_weight + slots, summed_table(sums_weight, slot, POSITION_SUMS, CHANNEL_AXIS), mask=filled)
        if static is not None:
            tl.store(partial_static + slots, summed_table(sums_static, slot, POSITION_SUMS, CHANNEL_AXIS), mask=filled)
