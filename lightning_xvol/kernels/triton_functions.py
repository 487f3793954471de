"""What the Triton programs share: where a tile lies, the taps, the tables, and sums over a tile.

Only `triton_programs` imports this module. `CHANNEL_AXIS` is the axis of the channels in a tile.
"""

import triton
import triton.language as tl


@triton.jit
def program_channels(group, channels, CHANNEL_AXIS: tl.constexpr, BLOCK_C: tl.constexpr):
    """The channels of this program, and a mask of those that exist."""
    within = tl.expand_dims(tl.arange(0, BLOCK_C), 1 - CHANNEL_AXIS)
    channel = tl.program_id(1).to(tl.int64) * group + within
    return channel, (within < group) & (channel < channels)


@triton.jit
def ring_distance(ring, DISTANCES: tl.constexpr):
    """The distance of a ring of eight taps. The rings are a loop, because the loads of all would fill the registers."""
    distance = 0
    for index in tl.static_range(len(DISTANCES)):
        distance = tl.where(ring == index, DISTANCES[index], distance)
    return distance


@triton.jit
def tap_offset(ring, distance, direction: tl.constexpr):
    """Number, row and column of a tap, in the order of `Spec.offsets`."""
    cell: tl.constexpr = direction + direction // 4  # the cell of a 3x3, without the middle one
    return ring * 8 + direction, distance * (cell // 3 - 1), distance * (cell % 3 - 1)


@triton.jit
def table_entry(table, tap, channels, channel, there, PER_HEAD: tl.constexpr):
    """The weight of tap `tap` in a table `[T, G]` for the head or the channels of this program."""
    if PER_HEAD:
        entry = tl.load(table + tap * tl.num_programs(1) + tl.program_id(1))
    else:
        entry = tl.load(table + tap * channels + channel, mask=there, other=0.0)
    return entry


@triton.jit
def tile_positions(
    tile, positions, rows, columns, CHANNEL_AXIS: tl.constexpr, BLOCK_P: tl.constexpr, TILE_COLUMNS: tl.constexpr
):
    """Image, row and column of the `BLOCK_P` positions of a tile, and a mask of those that exist.

    Only the numbers of tiles, of images, and of positions in the batch need 64 bits.
    """
    count = tl.arange(0, BLOCK_P)
    if TILE_COLUMNS == 0:
        start = tile * BLOCK_P
        within = (start % (rows * columns)).to(tl.int32) + count
        image = start // (rows * columns) + within // (rows * columns)
        row, column = within % (rows * columns) // columns, within % columns
        valid = start + count < positions
    else:
        tile_rows: tl.constexpr = BLOCK_P // TILE_COLUMNS
        across = tl.cdiv(columns, TILE_COLUMNS)
        tiles = tl.cdiv(rows, tile_rows) * across  # of an image
        image = tile // tiles + tl.zeros_like(count)
        place = (tile % tiles).to(tl.int32)
        row = place // across * tile_rows + count // TILE_COLUMNS
        column = place % across * TILE_COLUMNS + count % TILE_COLUMNS
        valid = (image * (rows * columns) < positions) & (row < rows) & (column < columns)
    return (
        tl.expand_dims(image, CHANNEL_AXIS),
        tl.expand_dims(row, CHANNEL_AXIS),
        tl.expand_dims(column, CHANNEL_AXIS),
        tl.expand_dims(valid, CHANNEL_AXIS),
    )


@triton.jit
def is_inside(row, column, rows, columns):
    """Whether a position lies in a grid."""
    return (row >= 0) & (row < rows) & (column >= 0) & (column < columns)


@triton.jit
def head_total(x, CHANNEL_AXIS: tl.constexpr):
    """R of `dot`: the sum over the channels."""
    return tl.sum(x, CHANNEL_AXIS, keep_dims=True)


@triton.jit
def no_sums(
    DISTANCES: tl.constexpr, POSITION_SUMS: tl.constexpr, PER_HEAD: tl.constexpr, CHANNEL_AXIS: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_T: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sums of zero: `[G, T]` over all positions, or, for each tap, a tile that keeps the positions apart."""
    entries: tl.constexpr = 1 if PER_HEAD else BLOCK_C
    if POSITION_SUMS:
        zeros = tl.zeros((BLOCK_P, entries) if CHANNEL_AXIS else (entries, BLOCK_P), ACC)
        sums = ()
        for _ in tl.static_range(8 * len(DISTANCES)):
            sums = sums + (zeros,)
    else:
        sums = tl.zeros((entries, BLOCK_T), ACC)
    return sums


@triton.jit
def with_added(sums, x, slot, ring, direction: tl.constexpr, POSITION_SUMS: tl.constexpr, CHANNEL_AXIS: tl.constexpr):
    """`sums` with the tile `x` added at one tap. The compiler knows the direction of this tap, but not its ring."""
    if POSITION_SUMS:
        added = ()
        for tap in tl.static_range(len(sums)):
            if tap % 8 == direction:
                added = added + (tl.where(ring == tap // 8, sums[tap] + x, sums[tap]),)
            else:
                added = added + (sums[tap],)
    else:
        added = sums + _tile_sum(x, slot == ring * 8 + direction, CHANNEL_AXIS)
    return added


@triton.jit
def summed_table(sums, slot, POSITION_SUMS: tl.constexpr, CHANNEL_AXIS: tl.constexpr):
    """`sums` as one table `[G, T]`."""
    if POSITION_SUMS:
        table = _tile_sum(sums[0], slot == 0, CHANNEL_AXIS)
        for tap in tl.static_range(1, len(sums)):
            table += _tile_sum(sums[tap], slot == tap, CHANNEL_AXIS)
    else:
        table = sums
    return table


@triton.jit
def _tile_sum(x, here, CHANNEL_AXIS: tl.constexpr):
    """The sum of a tile over its positions at the tap that is `here`, zero at the other taps: `[G, T]`."""
    return tl.where(here, tl.expand_dims(tl.sum(x, 1 - CHANNEL_AXIS), 1), 0.0)


@triton.jit
def store_tile(pointer, strides, image, channel, row, column, mask, x):
    """Write the tile `x` where `mask` holds, in the type of the map."""
    tl.store(pointer_to(pointer, strides, image, channel, row, column), x.to(pointer.dtype.element_ty), mask=mask)


@triton.jit
def pointer_to(pointer, strides, image, channel, row, column):
    """Where the entry of these indices is in memory."""
    return pointer + (
        image * strides[0] + channel * strides[1] + row.to(tl.int64) * strides[2] + column.to(tl.int64) * strides[3]
    )


@triton.jit
def pointer_step(strides, down, right):
    """The distance between two pointers that are `down` rows and `right` columns apart."""
    return down.to(tl.int64) * strides[2] + right.to(tl.int64) * strides[3]
