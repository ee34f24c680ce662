// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAffiliatePayout} from "../interfaces/IAffiliatePayout.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Payout funding
/// @notice Where the money comes from, and the only two ways in which payouts talk to a token.
/// @dev A token is never trusted here: it may revert, return false, nothing or very much, or burn all gas it is given.
/// Inherited first, so that `paused` and `treasury` share one storage slot.
abstract contract PayoutFunding is IAffiliatePayout, Pausable {
    /// @notice The most gas that a token gets for one transfer of a batch.
    uint256 public constant TRANSFER_GAS = 100_000;

    /// @notice The most gas that a token gets to answer one `balanceOf` or `allowance`.
    uint256 public constant READ_GAS = 30_000;

    /// @notice The gas that must be left before the funds of a token are read.
    uint256 public constant FUNDS_GAS = 65_000;

    /// @notice The most bytes of a token's answer that are kept as the reason of a failure.
    uint256 public constant MAX_REASON_BYTES = 256;

    /// @inheritdoc IAffiliatePayout
    address public override treasury;

    /// @inheritdoc IAffiliatePayout
    function paused() public view virtual override(IAffiliatePayout, Pausable) returns (bool) {
        return super.paused();
    }

    /// @dev The funds at hand for `token`; a token that does not answer has none. The caller sees to `FUNDS_GAS`.
    function _funds(address token) internal view returns (uint256) {
        address from = treasury;
        if (from == address(0)) return _read(token, abi.encodeCall(IERC20.balanceOf, (address(this))));
        return Math.min(
            _read(token, abi.encodeCall(IERC20.balanceOf, (from))),
            _read(token, abi.encodeCall(IERC20.allowance, (from, address(this))))
        );
    }

    /// @dev Sends `amount` of `token` from `from` (zero address: this contract) with at most `stipend` gas.
    /// @return ok Whether the token reverted not, and returned true or nothing.
    /// @return reason If not: the first bytes of what the token returned or reverted with.
    function _send(address token, address from, address to, uint256 amount, uint256 stipend)
        internal
        returns (bool ok, bytes memory reason)
    {
        // Interaction
        assembly ("memory-safe") {
            let input := mload(0x40)
            let size := 68
            switch from
            case 0 {
                mstore(input, shl(224, 0xa9059cbb)) // transfer(address,uint256)
                mstore(add(input, 4), to)
                mstore(add(input, 36), amount)
            }
            default {
                mstore(input, shl(224, 0x23b872dd)) // transferFrom(address,address,uint256)
                mstore(add(input, 4), from)
                mstore(add(input, 36), to)
                mstore(add(input, 68), amount)
                size := 100
            }
            ok := call(stipend, token, 0, input, size, 0, 32)
            size := returndatasize()
            switch size
            case 0 { if ok { ok := gt(extcodesize(token), 0) } }
            default { ok := and(ok, and(gt(size, 31), eq(mload(0), 1))) }
            if iszero(ok) {
                if gt(size, MAX_REASON_BYTES) { size := MAX_REASON_BYTES }
                reason := mload(0x40)
                mstore(reason, size)
                returndatacopy(add(reason, 32), 0, size)
                mstore(0x40, add(reason, and(add(size, 63), not(31))))
            }
        }
    }

    /// @dev One word from a view function of `token`, or 0 when it has no such answer.
    function _read(address token, bytes memory input) private view returns (uint256 answer) {
        assembly ("memory-safe") {
            if staticcall(READ_GAS, token, add(input, 32), mload(input), 0, 32) {
                if gt(returndatasize(), 31) { answer := mload(0) }
            }
        }
    }
}
