// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AffiliatePayout} from "../../src/AffiliatePayout.sol";
import {IAffiliatePayout} from "../../src/interfaces/IAffiliatePayout.sol";
import {InitialRoles, TokenLimits} from "../../src/types/Config.sol";
import {Payout, PayoutOutcome} from "../../src/types/DataTypes.sol";
import {TestUSDC} from "../../test-tokens/TestUSDC.sol";
import {Base} from "../utils/Base.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

contract PayoutAdminTest is Base {
    address internal constant treasury = address(0xE1);
    uint256 internal constant MAX = type(uint256).max;

    // Constructor

    function test_Constructor_SetsEverything() public {
        assertEq(payout.registry(), address(registry));
        assertEq(payout.usdc(), address(usdc));
        assertEq(payout.sge(), address(sge));
        assertEq(payout.treasury(), address(0));
        assertEq(payout.owner(), admin);
        assertTrue(payout.hasRole(payout.RELAYER_ROLE(), relayer));
        assertTrue(payout.hasRole(payout.PAUSER_ROLE(), pauser));
        assertTrue(payout.hasRole(payout.LIMITER_ROLE(), limiter));
        assertTrue(payout.hasRole(payout.TREASURER_ROLE(), treasurer));
        assertFalse(payout.hasRole(bytes32(0), address(this)));
        _limits(address(usdc), USDC_CAP, USDC_LIMIT, WINDOW, 0, USDC_LIMIT);
        _limits(address(sge), SGE_CAP, SGE_LIMIT, WINDOW, 0, SGE_LIMIT);
    }

    function test_Constructor_LeavesRolesOfTheZeroAddressUnassigned() public {
        InitialRoles memory roles;
        roles.admin = admin;
        AffiliatePayout bare = _deploy(address(registry), address(usdc), address(sge), roles);
        bytes32[4] memory names = [bare.RELAYER_ROLE(), bare.PAUSER_ROLE(), bare.LIMITER_ROLE(), bare.TREASURER_ROLE()];
        for (uint256 i = 0; i < 4; ++i) {
            assertFalse(bare.hasRole(names[i], address(0)));
        }
    }

    function test_Constructor_RevertWhen_AnAddressIsZero() public {
        vm.expectRevert(IAffiliatePayout.ZeroAddress.selector);
        _deploy(address(0), address(usdc), address(sge), _roles());
        vm.expectRevert(IAffiliatePayout.ZeroAddress.selector);
        _deploy(address(registry), address(0), address(sge), _roles());
        vm.expectRevert(IAffiliatePayout.ZeroAddress.selector);
        _deploy(address(registry), address(usdc), address(0), _roles());
    }

    function test_Constructor_RevertWhen_TheTokensAreTheSame() public {
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.UnknownToken.selector, address(usdc)));
        _deploy(address(registry), address(usdc), address(usdc), _roles());
    }

    // setPayoutCap

    function test_Cap_TheAdminSetsAnyValue() public {
        uint256[4] memory caps = [uint256(1), MAX, 0, 5e6];
        uint256 previous = USDC_CAP;
        for (uint256 i = 0; i < 4; ++i) {
            vm.expectEmit(address(payout));
            emit IAffiliatePayout.PayoutCapChanged(address(usdc), previous, caps[i]);
            _setCap(address(usdc), caps[i]);
            previous = caps[i];
        }
        _limits(address(sge), SGE_CAP, SGE_LIMIT, WINDOW, 0, SGE_LIMIT);
    }

    function test_Cap_TheLimiterLowers() public {
        vm.prank(limiter);
        payout.setPayoutCap(address(usdc), USDC_CAP - 1);
        _limits(address(usdc), USDC_CAP - 1, USDC_LIMIT, WINDOW, 0, USDC_LIMIT);
    }

    function test_Cap_RevertWhen_TheLimiterDoesNotLower() public {
        for (uint256 more = 0; more < 2; ++more) {
            vm.expectRevert(IAffiliatePayout.NotTightening.selector);
            vm.prank(limiter);
            payout.setPayoutCap(address(usdc), USDC_CAP + more);
        }
    }

    function test_Cap_RevertWhen_CallerIsNeither() public {
        bytes32 role = payout.LIMITER_ROLE();
        address[4] memory callers = [relayer, pauser, treasurer, stranger];
        for (uint256 i = 0; i < 4; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], role)
            );
            vm.prank(callers[i]);
            payout.setPayoutCap(address(usdc), 0);
        }
    }

    function test_Cap_RevertWhen_TheTokenIsUnknown() public {
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.UnknownToken.selector, stranger));
        _setCap(stranger, 1);
    }

    function test_Cap_OffLetsAnyAmountThrough() public {
        _setCap(address(usdc), MAX);
        _pay(bytes32(uint256(1)), USDC_LIMIT);
        assertEq(usdc.balanceOf(referrer), USDC_LIMIT);
    }

    // setWindow

    function test_Window_TheAdminSetsAnyValue() public {
        vm.expectEmit(address(payout));
        emit IAffiliatePayout.WindowChanged(address(usdc), USDC_LIMIT, WINDOW, USDC_LIMIT + 1, 1);
        _setWindow(address(usdc), USDC_LIMIT + 1, 1);
        _limits(address(usdc), USDC_CAP, USDC_LIMIT + 1, 1, 0, USDC_LIMIT + 1);
    }

    function test_Window_TheLimiterTightens() public {
        vm.startPrank(limiter);
        payout.setWindow(address(usdc), USDC_LIMIT, WINDOW);
        payout.setWindow(address(usdc), USDC_LIMIT - 1, WINDOW);
        payout.setWindow(address(usdc), USDC_LIMIT - 1, WINDOW + 1);
        payout.setWindow(address(usdc), 0, type(uint48).max);
        vm.stopPrank();
        _limits(address(usdc), USDC_CAP, 0, type(uint48).max, 0, 0);
    }

    function test_Window_RevertWhen_TheLimiterLoosens() public {
        vm.startPrank(limiter);
        vm.expectRevert(IAffiliatePayout.NotTightening.selector);
        payout.setWindow(address(usdc), USDC_LIMIT + 1, WINDOW);
        vm.expectRevert(IAffiliatePayout.NotTightening.selector);
        payout.setWindow(address(usdc), USDC_LIMIT, WINDOW - 1);
        vm.expectRevert(IAffiliatePayout.NotTightening.selector);
        payout.setWindow(address(usdc), 0, WINDOW - 1);
        vm.expectRevert(IAffiliatePayout.NotTightening.selector);
        payout.setWindow(address(usdc), type(uint208).max, type(uint48).max);
        vm.stopPrank();
    }

    function test_Window_RevertWhen_CallerIsNeither() public {
        bytes32 role = payout.LIMITER_ROLE();
        address[4] memory callers = [relayer, pauser, treasurer, stranger];
        for (uint256 i = 0; i < 4; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], role)
            );
            vm.prank(callers[i]);
            payout.setWindow(address(usdc), 0, WINDOW);
        }
    }

    function test_Window_RevertWhen_TheTokenIsUnknown() public {
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.UnknownToken.selector, stranger));
        _setWindow(stranger, 1, 1);
    }

    function test_Window_RollsByQuarters() public {
        uint256 start = 1_000_000;
        vm.warp(start + 24);
        _setWindow(address(usdc), 10e6, 100);
        _pay(bytes32(uint256(1)), 4e6);
        vm.warp(start + 50);
        _pay(bytes32(uint256(2)), 6e6);
        assertEq(_left(address(usdc)), 0);
        vm.warp(start + 124); // the last second in which the first must count
        assertEq(_left(address(usdc)), 0);
        vm.warp(start + 125);
        assertEq(_left(address(usdc)), 4e6);
        _pay(bytes32(uint256(3)), 4e6);
        vm.warp(start + 174); // 6e6 count for a quarter longer than they must
        assertEq(_left(address(usdc)), 0);
        vm.warp(start + 175);
        assertEq(_left(address(usdc)), 6e6);
        vm.warp(start + 250);
        _limits(address(usdc), USDC_CAP, 10e6, 100, 0, 10e6);
    }

    function test_Window_AnotherLengthCountsWhatCountedFromNowOn() public {
        vm.warp(1_000_000);
        _setWindow(address(usdc), 10e6, 100);
        _pay(bytes32(uint256(1)), 4e6);
        vm.warp(1_000_124);
        vm.prank(limiter);
        payout.setWindow(address(usdc), 10e6, 200);
        vm.warp(1_000_324);
        assertEq(_left(address(usdc)), 6e6);
        vm.warp(1_000_350);
        assertEq(_left(address(usdc)), 10e6);
    }

    function test_Window_CountsInBaseUnitsUpToALimitOf39Bits() public {
        _setWindow(address(usdc), (1 << 39) - 1, WINDOW);
        _pay(bytes32(uint256(1)), 1);
        _limits(address(usdc), USDC_CAP, (1 << 39) - 1, WINDOW, 1, (1 << 39) - 2);
        _setWindow(address(usdc), 1 << 39, WINDOW);
        _limits(address(usdc), USDC_CAP, 1 << 39, WINDOW, 2, (1 << 39) - 2);
        _pay(bytes32(uint256(2)), 3);
        _limits(address(usdc), USDC_CAP, 1 << 39, WINDOW, 6, (1 << 39) - 6);
    }

    /// @dev A limit that is lowered and raised again has forgotten nothing.
    function test_Window_ALowerLimitForgetsNothing() public {
        _setCap(address(sge), MAX);
        _setWindow(address(sge), 1_000_000e18, WINDOW);
        _payBatch(_one(_item(1, 0, 1000e18)));
        (,,, uint256 used,) = payout.limits(address(sge));
        assertGte(used, 1000e18);
        assertLt(used, 1000e18 + 1e13);
        vm.prank(limiter);
        payout.setWindow(address(sge), 1, WINDOW);
        _limits(address(sge), MAX, 1, WINDOW, used, 0);
        _setWindow(address(sge), 1_000_000e18, WINDOW);
        _limits(address(sge), MAX, 1_000_000e18, WINDOW, used, 1_000_000e18 - used);
    }

    function test_Window_OffForgets() public {
        _pay(bytes32(uint256(1)), 4e6);
        _setWindow(address(usdc), type(uint208).max, WINDOW);
        _limits(address(usdc), USDC_CAP, type(uint208).max, WINDOW, 0, MAX);
        _setWindow(address(usdc), 10e6, WINDOW);
        assertEq(_left(address(usdc)), 10e6);
    }

    /// @dev A node may be asked about a moment that lies before what it knows.
    function test_Window_AClockThatRunsBackwardsCountsAll() public {
        _setWindow(address(usdc), 10e6, 100);
        _pay(bytes32(uint256(1)), 4e6);
        vm.warp(block.timestamp - 60);
        assertEq(_left(address(usdc)), 6e6);
        _pay(bytes32(uint256(2)), 6e6);
        assertEq(_left(address(usdc)), 0);
    }

    function test_Window_ALimitBelowWhatLeftLeavesNothing() public {
        _pay(bytes32(uint256(1)), 8e6);
        vm.prank(limiter);
        payout.setWindow(address(usdc), 5e6, WINDOW);
        _limits(address(usdc), USDC_CAP, 5e6, WINDOW, 8e6, 0);
    }

    function test_Window_OffRecordsNothing() public {
        _setCap(address(usdc), MAX);
        _setWindow(address(usdc), type(uint208).max, WINDOW);
        _pay(bytes32(uint256(1)), USDC_FUNDS / 2);
        _payBatch(_one(_item(2, 7e6, 0)));
        _limits(address(usdc), MAX, type(uint208).max, WINDOW, 0, MAX);
        _setWindow(address(usdc), 10e6, WINDOW);
        assertEq(_left(address(usdc)), 10e6);
    }

    // Treasury, funds, available

    function test_Treasury_FundsPayoutsUnderItsAllowance() public {
        _setTreasury();
        _fundTreasury(40e6, 30e6);
        assertEq(payout.funds(address(usdc)), 30e6);
        _fundTreasury(0, 50e6);
        assertEq(payout.funds(address(usdc)), 40e6);
        assertEq(payout.available(address(usdc)), 40e6);

        _pay(bytes32(uint256(1)), 5e6);
        Payout[] memory items = new Payout[](2);
        items[0] = _item(2, 30e6, 0);
        items[1] = _item(3, 6e6, 0);
        PayoutOutcome[] memory outcomes = _payBatch(items);
        _outcome(outcomes[0], PayoutOutcome.Paid);
        _outcome(outcomes[1], PayoutOutcome.FundsLow);
        assertEq(usdc.balanceOf(treasury), 5e6);
        assertEq(usdc.balanceOf(referrer), 35e6);
        assertEq(usdc.balanceOf(address(payout)), USDC_FUNDS);
    }

    function test_Treasury_FundsHybridItemsOfABatch() public {
        _setTreasury();
        _fundTreasury(40e6, 40e6);
        sge.mint(treasury, 9e18);
        vm.prank(treasury);
        sge.approve(address(payout), 9e18);
        _outcome(_payBatch(_one(_item(1, 5e6, 9e18)))[0], PayoutOutcome.Paid);
        assertEq(sge.balanceOf(referrer), 9e18);
        assertEq(sge.balanceOf(address(payout)), SGE_FUNDS);
    }

    function test_Treasury_CanBeTakenBack() public {
        _setTreasury();
        assertEq(payout.funds(address(usdc)), 0);
        vm.expectEmit(address(payout));
        emit IAffiliatePayout.TreasuryChanged(treasury, address(0));
        vm.prank(admin);
        payout.setTreasury(address(0));
        assertEq(payout.funds(address(usdc)), USDC_FUNDS);
    }

    function test_Treasury_RevertWhen_CallerIsNotTheAdmin() public {
        address[5] memory callers = [relayer, pauser, limiter, treasurer, stranger];
        for (uint256 i = 0; i < 5; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], bytes32(0))
            );
            vm.prank(callers[i]);
            payout.setTreasury(treasury);
        }
    }

    function test_Available_IsTheLesserOfFundsAndWindow() public {
        assertEq(payout.available(address(usdc)), USDC_LIMIT);
        vm.prank(treasurer);
        payout.withdraw(address(usdc), treasurer, USDC_FUNDS - 3e6);
        assertEq(payout.available(address(usdc)), 3e6);
    }

    function test_Views_RevertWhen_TheTokenIsUnknown() public {
        bytes memory unknown = abi.encodeWithSelector(IAffiliatePayout.UnknownToken.selector, stranger);
        vm.expectRevert(unknown);
        payout.available(stranger);
        vm.expectRevert(unknown);
        payout.funds(stranger);
        vm.expectRevert(unknown);
        payout.limits(stranger);
    }

    function test_PaidAtBatch_AnswersInOrder() public {
        _pay(bytes32(uint256(2)), 1e6);
        bytes32[] memory ids = new bytes32[](3);
        (ids[0], ids[1], ids[2]) = (bytes32(uint256(1)), bytes32(uint256(2)), bytes32(uint256(3)));
        uint256[] memory blocks = payout.paidAtBatch(ids);
        assertEq(blocks[0], 0);
        assertEq(blocks[1], block.number);
        assertEq(blocks[2], 0);
    }

    // withdraw

    function test_Withdraw_TakesAnyTokenEvenWhilePaused() public {
        TestUSDC other = new TestUSDC(address(this));
        other.mint(address(payout), 9);
        vm.prank(pauser);
        payout.pause();
        vm.expectEmit(address(payout));
        emit IAffiliatePayout.Withdrawn(address(other), stranger, 9);
        vm.prank(treasurer);
        payout.withdraw(address(other), stranger, 9);
        assertEq(other.balanceOf(stranger), 9);
    }

    function test_Withdraw_RevertWhen_ToIsZero() public {
        vm.expectRevert(IAffiliatePayout.ZeroAddress.selector);
        vm.prank(treasurer);
        payout.withdraw(address(usdc), address(0), 1);
    }

    function test_Withdraw_RevertWhen_TheTokenRefuses() public {
        usdc.pause();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        vm.prank(treasurer);
        payout.withdraw(address(usdc), treasurer, 1);
    }

    function test_Withdraw_RevertWhen_CallerIsNoTreasurer() public {
        bytes32 role = payout.TREASURER_ROLE();
        address[5] memory callers = [admin, relayer, pauser, limiter, stranger];
        for (uint256 i = 0; i < 5; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], role)
            );
            vm.prank(callers[i]);
            payout.withdraw(address(usdc), callers[i], 1);
        }
    }

    // pause, unpause, roles

    function test_Pause_ByThePauserAndBackByTheAdmin() public {
        vm.prank(pauser);
        payout.pause();
        assertTrue(payout.paused());
        vm.prank(admin);
        payout.unpause();
        assertFalse(payout.paused());
        _pay(bytes32(uint256(1)), 1e6);
    }

    function test_Pause_RevertWhen_CallerIsNoPauser() public {
        bytes32 role = payout.PAUSER_ROLE();
        address[5] memory callers = [admin, relayer, limiter, treasurer, stranger];
        for (uint256 i = 0; i < 5; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], role)
            );
            vm.prank(callers[i]);
            payout.pause();
        }
    }

    function test_Unpause_RevertWhen_CallerIsNotTheAdmin() public {
        vm.prank(pauser);
        payout.pause();
        address[5] memory callers = [pauser, relayer, limiter, treasurer, stranger];
        for (uint256 i = 0; i < 5; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], bytes32(0))
            );
            vm.prank(callers[i]);
            payout.unpause();
        }
    }

    function test_Pause_KeepsTheTreasury() public {
        _setTreasury();
        vm.prank(pauser);
        payout.pause();
        assertEq(payout.treasury(), treasury);
        vm.prank(admin);
        payout.unpause();
        assertEq(payout.treasury(), treasury);
    }

    function test_Admin_ChangesInTwoStepsWithDelay() public {
        vm.prank(admin);
        payout.beginDefaultAdminTransfer(stranger);
        vm.expectRevert();
        vm.prank(stranger);
        payout.acceptDefaultAdminTransfer();
        vm.warp(block.timestamp + 1 days + 1);
        vm.prank(stranger);
        payout.acceptDefaultAdminTransfer();
        assertEq(payout.owner(), stranger);
        assertFalse(payout.hasRole(bytes32(0), admin));
    }

    function test_Roles_RevertWhen_TheRelayerGrantsOne() public {
        bytes32 role = payout.LIMITER_ROLE();
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, relayer, bytes32(0))
        );
        vm.prank(relayer);
        payout.grantRole(role, relayer);
    }

    function _deploy(address registry_, address usdc_, address sge_, InitialRoles memory roles)
        private
        returns (AffiliatePayout)
    {
        TokenLimits memory closed;
        return new AffiliatePayout(registry_, usdc_, sge_, roles, closed, closed);
    }

    function _setTreasury() private {
        vm.expectEmit(address(payout));
        emit IAffiliatePayout.TreasuryChanged(address(0), treasury);
        vm.prank(admin);
        payout.setTreasury(treasury);
    }

    function _fundTreasury(uint256 amount, uint256 allowance) private {
        usdc.mint(treasury, amount);
        vm.prank(treasury);
        usdc.approve(address(payout), allowance);
    }

    function _limits(address token, uint256 cap, uint256 limit, uint48 window, uint256 used, uint256 left) private {
        (uint256 cap_, uint256 limit_, uint48 window_, uint256 used_, uint256 left_) = payout.limits(token);
        assertEq(cap_, cap, "cap");
        assertEq(limit_, limit, "limit");
        assertEq(window_, window, "window");
        assertEq(used_, used, "used");
        assertEq(left_, left, "left");
    }
}
