// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PayoutOutcome} from "../../src/types/DataTypes.sol";
import {Base} from "../utils/Base.sol";
import {PayoutHandler} from "./PayoutHandler.sol";

contract PayoutInvariantTest is Base {
    PayoutHandler internal handler;

    function setUp() public override {
        super.setUp();
        _setWindow(address(usdc), 5000e6, 1000);
        _setWindow(address(sge), 5000e18, 1000);
        vm.startPrank(treasurer);
        payout.withdraw(address(usdc), address(0xDEAD), USDC_FUNDS - 10_000e6);
        payout.withdraw(address(sge), address(0xDEAD), SGE_FUNDS - 10_000e18);
        vm.stopPrank();
        handler = new PayoutHandler(
            registry, payout, usdc, sge, PayoutHandler.Roles(admin, relayer, pauser, limiter, treasurer, stranger)
        );
        usdc.transferOwnership(address(handler));
        sge.transferOwnership(address(handler));
        for (uint256 i = 0; i < 6; ++i) {
            handler.register(i, 3);
        }
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev Every token is where the record says; nothing appears or vanishes.
    function invariant_FundsAreConserved() public {
        for (uint256 i = 0; i < 2; ++i) {
            address token = i == 0 ? address(usdc) : address(sge);
            assertEq(
                payout.funds(token),
                handler.minted(token) - handler.withdrawn(token) - handler.paidTotal(token),
                "funds"
            );
            uint256 sum;
            for (uint256 k = 0; k < handler.PEOPLE(); ++k) {
                address person = handler.person(k);
                uint256 balance = i == 0 ? usdc.balanceOf(person) : sge.balanceOf(person);
                assertEq(balance, handler.received(token, person), "received");
                sum += balance;
            }
            assertEq(sum, handler.paidTotal(token), "paid");
        }
    }

    /// @dev An id is paid at most once, and what `paidAt` says of it never changes.
    function invariant_AnIdIsPaidOnceAndStaysPaid() public {
        uint256 count = handler.paidCount();
        for (uint256 i = count > 8 ? count - 8 : 0; i < count; ++i) {
            _checkId(handler.paidIds(i));
        }
        if (count != 0) _checkId(handler.paidIds(block.timestamp % count));
    }

    /// @dev At no time did more leave in a window than its limit; what counts is at least what left in the window, and at
    /// most what left in a quarter more of it, but for roundings.
    function invariant_TheWindowHolds() public {
        assertEq(handler.overLimit(), 0, "over the limit");
        for (uint256 i = 0; i < 2; ++i) {
            address token = i == 0 ? address(usdc) : address(sge);
            (, uint256 limit,, uint256 used, uint256 left) = payout.limits(token);
            assertGte(used, handler.outflowWithin(token, 1000), "counted");
            assertLte(used, handler.outflowWithin(token, 1250) + (i == 0 ? 0 : 1e15), "counted for too long");
            assertEq(limit, handler.limitOf(token), "limit");
            assertEq(left, limit > used ? limit - used : 0, "left");
        }
    }

    /// @dev Nothing moves while paused.
    function invariant_PausedMeansNoMovement() public {
        assertEq(handler.movedWhilePaused(), 0);
        assertEq(payout.paused(), handler.paused());
    }

    /// @dev Nobody but the relayer pays, and the relayer changes no limit.
    function invariant_OnlyTheRolePays() public {
        assertEq(handler.unauthorized(), 0);
        assertEq(usdc.balanceOf(stranger) + sge.balanceOf(stranger), 0);
    }

    /// @dev Every item ends as its own merits say, whatever its neighbours do.
    function invariant_AFailingItemChangesNoOther() public {
        assertEq(handler.wrongOutcomes(), 0);
    }

    /// @dev A limiter only ever tightened.
    function invariant_ALimiterOnlyTightens() public {
        assertEq(handler.loosened(), 0);
        (uint256 usdcCap,,,,) = payout.limits(address(usdc));
        assertEq(usdcCap, handler.capOf(address(usdc)));
    }

    /// @dev A recorded referral never changes, and no two refer each other.
    function invariant_ReferralsNeverChange() public {
        for (uint256 i = 0; i < handler.PEOPLE(); ++i) {
            address person = handler.person(i);
            address recorded = registry.referrerOf(person);
            assertEq(recorded, handler.referrerOf(person), "recorded");
            assertTrue(recorded == address(0) || registry.referrerOf(recorded) != person, "pair");
        }
    }

    /// @dev The run did real work; and all ids ever paid are still paid.
    function afterInvariant() public {
        for (uint256 i = 0; i < handler.paidCount(); ++i) {
            _checkId(handler.paidIds(i));
        }
        if (handler.calls() < 100) return; // a replay of a shrunk failure
        assertGt(handler.paidCount() + handler.triedWhilePaused(), 0, "payments or attempts while paused");
    }

    /// @dev The handler reaches everything there is to reach: the invariants above are not empty words.
    function test_TheHandlerReachesEverything() public {
        for (uint256 i = 0; i < 1500; ++i) {
            uint256 random = uint256(keccak256(abi.encode(i)));
            uint256 more = random >> 128;
            uint256 action = i % 12;
            if (action < 2) handler.payBatch(random, more);
            else if (action == 2) handler.payUSDC(random);
            else if (action == 3) handler.payHybrid(random);
            else if (action == 4) handler.payAsAnybodyElse(random, more);
            else if (action == 5) handler.register(random, more);
            else if (action == 6) handler.warp(random);
            else if (action == 7) handler.setLimit(random, more % 2 == 0, more % 3 != 0);
            else if (action == 8) handler.setCap(random, more % 2 == 0, more % 3 != 0);
            else if (action == 9) handler.pauseOrUnpause(random);
            else if (action == 10) handler.block_(random, more % 3 == 0);
            else handler.fundOrWithdraw(random, more % 2 == 0, more % 3 != 0);
        }
        for (uint256 outcome = 0; outcome <= uint256(PayoutOutcome.TransferFailed); ++outcome) {
            assertGt(handler.seen(outcome), 0, "outcome");
        }
        assertGt(handler.paidCount(), 50, "payments");
        assertGt(handler.singlesPaid(), 10, "single payments");
        assertGt(handler.triedWhilePaused(), 0, "attempts while paused");
        assertGt(handler.triedWithoutRole(), 0, "attempts without the role");
        invariant_FundsAreConserved();
        invariant_TheWindowHolds();
        invariant_AFailingItemChangesNoOther();
        invariant_ReferralsNeverChange();
        afterInvariant();
    }

    function _checkId(bytes32 id) private {
        assertEq(handler.timesPaid(id), 1, "times");
        assertEq(payout.paidAt(id), handler.paidIn(id), "block");
    }
}
