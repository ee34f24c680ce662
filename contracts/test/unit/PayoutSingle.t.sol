// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AffiliatePayout} from "../../src/AffiliatePayout.sol";
import {IAffiliatePayout} from "../../src/interfaces/IAffiliatePayout.sol";
import {Payout} from "../../src/types/DataTypes.sol";
import {TestUSDC} from "../../test-tokens/TestUSDC.sol";
import {Base} from "../utils/Base.sol";
import {OddToken} from "../utils/OddToken.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

contract PayoutSingleTest is Base {
    bytes32 internal constant ID = bytes32(uint256(1));

    // payAffiliateUSDC

    function test_USDC_PaysTheReferrer() public {
        vm.expectEmit(address(payout));
        emit IAffiliatePayout.AffiliatePaid(ID, referrer, child, 5e6, 0);
        _pay(ID, 5e6);
        assertEq(usdc.balanceOf(referrer), 5e6);
        assertEq(usdc.balanceOf(address(payout)), USDC_FUNDS - 5e6);
        assertEq(payout.paidAt(ID), block.number);
        assertEq(_left(address(usdc)), USDC_LIMIT - 5e6);
    }

    function test_USDC_PaysUpToTheCap() public {
        _pay(ID, USDC_CAP);
        assertEq(usdc.balanceOf(referrer), USDC_CAP);
    }

    function test_USDC_RevertWhen_PaidBefore() public {
        _pay(ID, 5e6);
        vm.roll(block.number + 5);
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.AlreadyPaid.selector, ID, 20_000_000));
        _pay(ID, 5e6);
    }

    function test_USDC_RevertWhen_PaidBeforeAsHybrid() public {
        _payHybrid(ID, 5e6, 1e18);
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.AlreadyPaid.selector, ID, block.number));
        _pay(ID, 5e6);
    }

    function test_USDC_RevertWhen_AmountIsZero() public {
        vm.expectRevert(IAffiliatePayout.ZeroAmount.selector);
        _pay(ID, 0);
    }

    function test_USDC_RevertWhen_ChildIsNotRegistered() public {
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.NotRegistered.selector, stranger));
        vm.prank(relayer);
        payout.payAffiliateUSDC(ID, stranger, referrer, 5e6);
    }

    function test_USDC_RevertWhen_ReferrerIsAnother() public {
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.WrongReferrer.selector, child, referrer, stranger));
        vm.prank(relayer);
        payout.payAffiliateUSDC(ID, child, stranger, 5e6);
    }

    function test_USDC_RevertWhen_AboveTheCap() public {
        vm.expectRevert(
            abi.encodeWithSelector(IAffiliatePayout.AboveCap.selector, address(usdc), USDC_CAP + 1, USDC_CAP)
        );
        _pay(ID, USDC_CAP + 1);
    }

    function test_USDC_RevertWhen_TheCapIsClosed() public {
        _setCap(address(usdc), 0);
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.AboveCap.selector, address(usdc), 1, 0));
        _pay(ID, 1);
    }

    function test_USDC_RevertWhen_TheWindowIsExhausted() public {
        _setWindow(address(usdc), 10e6, WINDOW);
        _pay(ID, 6e6);
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.WindowExhausted.selector, address(usdc), 5e6, 4e6));
        _pay(bytes32(uint256(2)), 5e6);
    }

    function test_USDC_RevertWhen_TheWindowIsClosed() public {
        _setWindow(address(usdc), 0, WINDOW);
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.WindowExhausted.selector, address(usdc), 1, 0));
        _pay(ID, 1);
    }

    function test_USDC_RevertWhen_FundsAreLow() public {
        vm.prank(treasurer);
        payout.withdraw(address(usdc), treasurer, USDC_FUNDS - 3e6);
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.FundsLow.selector, address(usdc), 5e6, 3e6));
        _pay(ID, 5e6);
    }

    function test_USDC_RevertWhen_TheTokenRefuses() public {
        usdc.setBlocklisted(referrer, true);
        bytes memory reason = abi.encodeWithSelector(TestUSDC.Blocklisted.selector, referrer);
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.TransferFailed.selector, address(usdc), reason));
        _pay(ID, 5e6);
        assertEq(payout.paidAt(ID), 0);

        // The same id can be paid once the token agrees.
        usdc.setBlocklisted(referrer, false);
        _pay(ID, 5e6);
        assertEq(usdc.balanceOf(referrer), 5e6);
    }

    function test_USDC_RevertWhen_Paused() public {
        vm.prank(pauser);
        payout.pause();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        _pay(ID, 5e6);
    }

    function test_USDC_RevertWhen_CallerIsNoRelayer() public {
        bytes32 role = payout.RELAYER_ROLE();
        for (uint160 i = 0; i < 6; ++i) {
            address caller = address(0xA0 + i);
            if (caller == relayer) continue;
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, role)
            );
            vm.prank(caller);
            payout.payAffiliateUSDC(ID, child, referrer, 5e6);
        }
    }

    function test_USDC_RevertWhen_TheGasIsLow() public {
        vm.prank(relayer);
        (bool ok, bytes memory reason) =
            address(payout).call{gas: 200_000}(abi.encodeCall(payout.payAffiliateUSDC, (ID, child, referrer, 5e6)));
        assertTrue(ok);
        vm.prank(relayer);
        (ok, reason) = address(payout).call{gas: 120_000}(
            abi.encodeCall(payout.payAffiliateUSDC, (bytes32(uint256(2)), child, referrer, 5e6))
        );
        assertFalse(ok);
        assertEq(bytes4(reason), IAffiliatePayout.InsufficientGas.selector);
    }

    // payAffiliateHybrid

    function test_Hybrid_PaysBoth() public {
        vm.expectEmit(address(payout));
        emit IAffiliatePayout.AffiliatePaid(ID, referrer, child, 5e6, 7e18);
        _payHybrid(ID, 5e6, 7e18);
        assertEq(usdc.balanceOf(referrer), 5e6);
        assertEq(sge.balanceOf(referrer), 7e18);
        assertEq(_left(address(usdc)), USDC_LIMIT - 5e6);
        _leftAbout(address(sge), SGE_LIMIT - 7e18);
    }

    function test_Hybrid_PaysSGEAlone() public {
        _payHybrid(ID, 0, 7e18);
        assertEq(usdc.balanceOf(referrer), 0);
        assertEq(sge.balanceOf(referrer), 7e18);
        assertEq(_left(address(usdc)), USDC_LIMIT);
    }

    function test_Hybrid_RevertWhen_BothAreZero() public {
        vm.expectRevert(IAffiliatePayout.ZeroAmount.selector);
        _payHybrid(ID, 0, 0);
    }

    function test_Hybrid_RevertWhen_SGEIsAboveItsCap() public {
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.AboveCap.selector, address(sge), SGE_CAP + 1, SGE_CAP));
        _payHybrid(ID, 5e6, SGE_CAP + 1);
    }

    function test_Hybrid_RevertWhen_TheWindowOfSGEIsExhausted() public {
        _setWindow(address(sge), 10e18, WINDOW);
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.WindowExhausted.selector, address(sge), 11e18, 10e18));
        _payHybrid(ID, 5e6, 11e18);
    }

    function test_Hybrid_RevertWhen_FundsOfSGEAreLow() public {
        vm.prank(treasurer);
        payout.withdraw(address(sge), treasurer, SGE_FUNDS);
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.FundsLow.selector, address(sge), 7e18, 0));
        _payHybrid(ID, 5e6, 7e18);
    }

    function test_Hybrid_RevertWhen_SGERefuses_NothingMoves() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        token.setTransferMode(referrer, OddToken.Transfer.False);
        vm.expectRevert(
            abi.encodeWithSelector(IAffiliatePayout.TransferFailed.selector, address(token), abi.encode(uint256(0)))
        );
        vm.prank(relayer);
        odd.payAffiliateHybrid(ID, child, referrer, 5e6, 7e18);
        assertEq(usdc.balanceOf(referrer), 0);
        assertEq(odd.paidAt(ID), 0);
    }

    function test_Hybrid_RevertWhen_CallerIsNoRelayer() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControl.AccessControlUnauthorizedAccount.selector, admin, payout.RELAYER_ROLE()
            )
        );
        vm.prank(admin);
        payout.payAffiliateHybrid(ID, child, referrer, 5e6, 7e18);
    }

    function test_Hybrid_RevertWhen_Paused() public {
        vm.prank(pauser);
        payout.pause();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        _payHybrid(ID, 5e6, 7e18);
    }

    // Odd tokens

    function test_Odd_ATokenThatReturnsNothingIsPaidWith() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        token.setTransferMode(referrer, OddToken.Transfer.Nothing);
        vm.prank(relayer);
        odd.payAffiliateHybrid(ID, child, referrer, 0, 7e18);
        assertEq(token.balanceOf(referrer), 7e18);
    }

    function test_Odd_ATokenThatReturnsMuchIsPaidWith() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        token.setTransferMode(referrer, OddToken.Transfer.HugeTrue);
        vm.prank(relayer);
        odd.payAffiliateHybrid(ID, child, referrer, 0, 7e18);
        assertEq(token.balanceOf(referrer), 7e18);
    }

    function test_Odd_RevertWhen_TheAnswerIsNeitherTrueNorNothing() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        bytes[3] memory answers = [abi.encode(uint256(0)), abi.encode(uint256(2)), new bytes(31)];
        OddToken.Transfer[3] memory modes = [OddToken.Transfer.False, OddToken.Transfer.Two, OddToken.Transfer.Short];
        for (uint256 i = 0; i < 3; ++i) {
            token.setTransferMode(referrer, modes[i]);
            vm.expectRevert(
                abi.encodeWithSelector(IAffiliatePayout.TransferFailed.selector, address(token), answers[i])
            );
            vm.prank(relayer);
            odd.payAffiliateHybrid(ID, child, referrer, 0, 7e18);
        }
    }

    function test_Odd_TheReasonIsCutAt256Bytes() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        token.setTransferMode(referrer, OddToken.Transfer.Revert);
        token.setRevertBytes(100_000);
        bytes memory cut = new bytes(256);
        for (uint256 i = 0; i < 32; ++i) {
            cut[i] = 0xff;
        }
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.TransferFailed.selector, address(token), cut));
        vm.prank(relayer);
        odd.payAffiliateHybrid(ID, child, referrer, 0, 7e18);
    }

    function test_Odd_RevertWhen_TheTokenHasVanished() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        vm.etch(address(token), "");
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.FundsLow.selector, address(token), 7e18, 0));
        vm.prank(relayer);
        odd.payAffiliateHybrid(ID, child, referrer, 0, 7e18);
    }

    function test_Odd_ATokenThatDoesNotAnswerHasNoFunds() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        for (uint256 mode = 1; mode < 4; ++mode) {
            token.setReadMode(OddToken.Read(mode));
            assertEq(odd.funds(address(token)), 0);
        }
        vm.expectRevert(abi.encodeWithSelector(IAffiliatePayout.FundsLow.selector, address(token), 7e18, 0));
        vm.prank(relayer);
        odd.payAffiliateHybrid(ID, child, referrer, 5e6, 7e18);
        vm.prank(relayer);
        odd.payAffiliateUSDC(ID, child, referrer, 5e6);
    }

    function test_Odd_ATokenCannotReenter() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        bytes32[2] memory roles = [odd.RELAYER_ROLE(), odd.TREASURER_ROLE()];
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(admin);
            odd.grantRole(roles[i], address(token));
        }
        token.setTransferMode(referrer, OddToken.Transfer.Reenter);
        Payout[] memory items = _one(_item(9, 0, 1e18));
        bytes[4] memory attempts = [
            abi.encodeCall(odd.payAffiliateUSDC, (ID, child, referrer, 1e6)),
            abi.encodeCall(odd.payAffiliateHybrid, (ID, child, referrer, 1e6, 1e18)),
            abi.encodeCall(odd.payAffiliateBatch, (items)),
            abi.encodeCall(odd.withdraw, (address(usdc), address(token), 1e6))
        ];
        for (uint256 i = 0; i < 4; ++i) {
            token.setReentry(address(odd), attempts[i]);
            vm.prank(relayer);
            odd.payAffiliateHybrid(bytes32(100 + i), child, referrer, 0, 7e18);
            assertEq(bytes4(token.reentryError()), ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        }
    }

    // sendBoth

    function test_SendBoth_RevertWhen_CallerIsAnybodyElse() public {
        for (uint160 i = 0; i < 6; ++i) {
            vm.expectRevert(AffiliatePayout.OnlySelf.selector);
            vm.prank(address(0xA0 + i));
            payout.sendBoth(address(0), stranger, 1e6, 1e18);
        }
    }

    function _oddSGE() private returns (AffiliatePayout odd, OddToken token) {
        token = new OddToken();
        odd = _deployPayout(address(usdc), address(token));
        usdc.mint(address(odd), USDC_FUNDS);
        token.mint(address(odd), SGE_FUNDS);
    }
}
