// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RollingWindow} from "../../src/libraries/RollingWindow.sol";
import {Base} from "../utils/Base.sol";

/// @dev What the payout contract cannot bring about, because it asks first. Everything else is in `PayoutAdmin.t.sol`.
contract RollingWindowTest is Base {
    using RollingWindow for RollingWindow.Window;

    RollingWindow.Window private _window;

    function test_RevertWhen_MoreIsConsumedThanIsLeft() public {
        _window.set(10, 100);
        this.consume(4);
        vm.expectRevert(abi.encodeWithSelector(RollingWindow.WindowOverrun.selector, 7, 6));
        this.consume(7);
        this.consume(6);
        assertEq(_window.left(), 0);
    }

    /// @dev Whatever was consumed within a limit of any size fits, and comes back.
    function testFuzz_AnyLimitCanBeUsedUp(uint208 limit, uint48 length, uint256 first) public {
        _window.set(limit, length);
        vm.assume(limit != RollingWindow.OFF);
        this.consume(first % (uint256(limit) + 1));
        assertLte(_window.left(), limit - first % (uint256(limit) + 1));
        this.consume(_window.left());
        assertEq(_window.left(), 0);
        vm.warp(block.timestamp + 2 * uint256(length) + 10);
        assertEq(_window.left(), limit);
    }

    function consume(uint256 amount) external {
        _window.consume(amount);
    }
}
