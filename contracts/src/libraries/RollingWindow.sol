// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Rolling window
/// @notice At most `limit` in any `length` seconds, for one storage slot beside the settings.
/// @dev Time is cut into pieces of a quarter of the window, rounded up to a second or more. The slot counts what was
/// consumed in the present piece and in each of the four before it, so that an amount counts for the whole window after
/// it, and for at most a piece longer. Nothing is searched, and no slot is ever added.
///
/// Counts are in units of `2^shift`, rounded up: one base unit below a limit of `2^39`, and less than a
/// 270,000,000,000th of any limit above. Another length gives another grid of pieces: what was consumed before may come back
/// up to a piece earlier than it would have, never within the window.
library RollingWindow {
    struct Window {
        uint208 limit; // OFF = no bound, and nothing is recorded
        uint48 length; // seconds
        // From the lowest bit: five counts of 40 bits, the present piece first; its number, 40 bits; the shift, 16 bits.
        uint256 slot;
    }

    /// @notice `amount` is above what the window has `left`.
    error WindowOverrun(uint256 amount, uint256 left);

    /// @dev The limit at which a window is off.
    uint208 internal constant OFF = type(uint208).max;

    uint256 private constant PIECES = 5;
    uint256 private constant COUNT_BITS = 40;
    uint256 private constant COUNT_MASK = type(uint40).max;
    uint256 private constant COUNTS_MASK = type(uint200).max; // of all pieces
    uint256 private constant PIECE_AT = PIECES * COUNT_BITS;
    uint256 private constant SHIFT_AT = PIECE_AT + 40;

    /// @dev A limit has at most this many bits in units, so that what was used of it always fits a count.
    uint256 private constant LIMIT_BITS = COUNT_BITS - 1;

    /// @dev Records that `amount` leaves. Reverts if less is left.
    function consume(Window storage self, uint256 amount) internal {
        uint256 limit = self.limit;
        if (limit == OFF) return;
        uint256 slot = _atNow(self.slot, self.length);
        uint256 free = _left(limit, slot);
        if (amount > free) revert WindowOverrun(amount, free);
        // Where anything is left, what counts is below `2^39` units, and so is the amount: the count has room.
        self.slot = slot + _toUnits(amount, slot >> SHIFT_AT);
    }

    /// @dev What may still leave now; the maximum where the window is off.
    function left(Window storage self) internal view returns (uint256) {
        uint256 limit = self.limit;
        return limit == OFF ? type(uint256).max : _left(limit, _atNow(self.slot, self.length));
    }

    /// @dev What counts against the limit now.
    function used(Window storage self) internal view returns (uint256) {
        uint256 slot = _atNow(self.slot, self.length);
        return _total(slot) << (slot >> SHIFT_AT);
    }

    /// @dev Changes limit and length. What counts keeps counting: as before where the length stays, otherwise as if it had
    /// left just now. A window that is switched off forgets.
    function set(Window storage self, uint208 limit, uint48 length) internal {
        uint256 slot = limit == OFF ? 0 : _atNow(self.slot, self.length);
        uint256 counted = _total(slot);
        uint256 from = slot >> SHIFT_AT;
        // Also at the least shift at which what counts fits: a lower limit makes nothing forgotten.
        uint256 to = Math.max(_excess(limit, LIMIT_BITS), _excess(counted << from, COUNT_BITS));
        uint256 counts;
        if (_pieceLength(length) == _pieceLength(self.length)) {
            for (uint256 i = 0; i < PIECE_AT; i += COUNT_BITS) {
                counts |= _rescaled((slot >> i) & COUNT_MASK, from, to) << i;
            }
        } else {
            counts = _rescaled(counted, from, to);
        }
        (self.limit, self.length) = (limit, length);
        self.slot = (to << SHIFT_AT) | ((block.timestamp / _pieceLength(length)) << PIECE_AT) | counts;
    }

    /// @dev The slot as it is now: pieces that are over make room for the present one.
    function _atNow(uint256 slot, uint256 length) private view returns (uint256) {
        unchecked {
            uint256 present = block.timestamp / _pieceLength(length);
            uint256 newest = (slot >> PIECE_AT) & COUNT_MASK;
            // A node may answer for a time that lies before what it knows.
            if (present <= newest) return slot;
            uint256 gone = present - newest;
            uint256 counts = gone < PIECES ? (slot << (gone * COUNT_BITS)) & COUNTS_MASK : 0;
            return ((slot >> SHIFT_AT) << SHIFT_AT) | (present << PIECE_AT) | counts;
        }
    }

    function _left(uint256 limit, uint256 slot) private pure returns (uint256) {
        unchecked {
            uint256 counted = _total(slot) << (slot >> SHIFT_AT);
            return limit > counted ? limit - counted : 0;
        }
    }

    /// @dev The sum of all counts.
    function _total(uint256 slot) private pure returns (uint256) {
        unchecked {
            return (slot & COUNT_MASK) + ((slot >> COUNT_BITS) & COUNT_MASK) + ((slot >> (2 * COUNT_BITS)) & COUNT_MASK)
                + ((slot >> (3 * COUNT_BITS)) & COUNT_MASK) + ((slot >> (4 * COUNT_BITS)) & COUNT_MASK);
        }
    }

    function _pieceLength(uint256 length) private pure returns (uint256) {
        unchecked {
            return length < PIECES ? 1 : (length + PIECES - 2) / (PIECES - 1);
        }
    }

    /// @dev `amount` in units, rounded up.
    function _toUnits(uint256 amount, uint256 shift) private pure returns (uint256) {
        unchecked {
            uint256 one = 1;
            return (amount + (one << shift) - 1) >> shift;
        }
    }

    /// @dev A count in units of `2^from`, in units of `2^to`: rounded up, never down.
    function _rescaled(uint256 count, uint256 from, uint256 to) private pure returns (uint256) {
        return from > to ? count << (from - to) : _toUnits(count, to - from);
    }

    /// @dev By how many bits `value` is longer than `bits`.
    function _excess(uint256 value, uint256 bits) private pure returns (uint256) {
        return value >> bits == 0 ? 0 : Math.log2(value) + 1 - bits;
    }
}
