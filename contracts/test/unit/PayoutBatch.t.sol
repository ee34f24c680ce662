// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AffiliatePayout} from "../../src/AffiliatePayout.sol";
import {IAffiliatePayout} from "../../src/interfaces/IAffiliatePayout.sol";
import {Payout, PayoutOutcome} from "../../src/types/DataTypes.sol";
import {TestUSDC} from "../../test-tokens/TestUSDC.sol";
import {Base} from "../utils/Base.sol";
import {OddToken} from "../utils/OddToken.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

contract PayoutBatchTest is Base {
    address internal constant blocked = address(0xB2);
    address internal constant blockedChild = address(0xC2);

    function setUp() public override {
        super.setUp();
        _register(blockedChild, blocked);
        usdc.setBlocklisted(blocked, true);
    }

    function test_PaysAllInOrder() public {
        Payout[] memory items = new Payout[](3);
        items[0] = _item(1, 5e6, 0);
        items[1] = _item(2, 6e6, 7e18);
        items[2] = _item(3, 0, 8e18);
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectEmit(address(payout));
            emit IAffiliatePayout.AffiliatePaid(
                items[i].paymentId, referrer, child, items[i].usdcAmount, items[i].sgeAmount
            );
        }
        PayoutOutcome[] memory outcomes = _payBatch(items);
        for (uint256 i = 0; i < 3; ++i) {
            _outcome(outcomes[i], PayoutOutcome.Paid);
            assertEq(payout.paidAt(bytes32(i + 1)), block.number);
        }
        assertEq(usdc.balanceOf(referrer), 11e6);
        assertEq(sge.balanceOf(referrer), 15e18);
        assertEq(_left(address(usdc)), USDC_LIMIT - 11e6);
        _leftAbout(address(sge), SGE_LIMIT - 15e18);
    }

    function test_EmptyDoesNothing() public {
        assertEq(_payBatch(new Payout[](0)).length, 0);
    }

    function test_ReportsEachFailureLikeTheSingleCallAndPaysTheRest() public {
        _pay(bytes32(uint256(1)), 1e6);
        vm.prank(treasurer);
        payout.withdraw(address(usdc), treasurer, USDC_FUNDS - 100e6);
        vm.prank(limiter);
        payout.setWindow(address(sge), 50e18, WINDOW);

        Payout[] memory items = new Payout[](10);
        bytes[] memory reasons = new bytes[](10);
        items[0] = _item(2, 5e6, 0);
        items[1] = _item(1, 5e6, 0);
        reasons[1] = abi.encodeWithSelector(IAffiliatePayout.AlreadyPaid.selector, bytes32(uint256(1)), block.number);
        items[2] = _item(3, 0, 0);
        reasons[2] = abi.encodeWithSelector(IAffiliatePayout.ZeroAmount.selector);
        items[3] = Payout(bytes32(uint256(4)), stranger, referrer, 5e6, 0);
        reasons[3] = abi.encodeWithSelector(IAffiliatePayout.NotRegistered.selector, stranger);
        items[4] = Payout(bytes32(uint256(5)), child, stranger, 5e6, 0);
        reasons[4] = abi.encodeWithSelector(IAffiliatePayout.WrongReferrer.selector, child, referrer, stranger);
        items[5] = _item(6, 5e6, SGE_CAP + 1);
        reasons[5] = abi.encodeWithSelector(IAffiliatePayout.AboveCap.selector, address(sge), SGE_CAP + 1, SGE_CAP);
        items[6] = _item(7, 5e6, 51e18);
        reasons[6] = abi.encodeWithSelector(IAffiliatePayout.WindowExhausted.selector, address(sge), 51e18, 50e18);
        items[7] = _item(8, 95e6, 0);
        reasons[7] = abi.encodeWithSelector(IAffiliatePayout.FundsLow.selector, address(usdc), 95e6, 94e6);
        items[8] = Payout(bytes32(uint256(9)), blockedChild, blocked, 5e6, 0);
        reasons[8] = abi.encodeWithSelector(TestUSDC.Blocklisted.selector, blocked);
        items[9] = _item(10, 5e6, 0);

        for (uint256 i = 0; i < 10; ++i) {
            if (i == 0 || i == 9) continue;
            vm.expectEmit(address(payout));
            emit IAffiliatePayout.PayoutFailed(items[i].paymentId, uint8(i), reasons[i]);
        }
        PayoutOutcome[] memory outcomes = _payBatch(items);
        for (uint256 i = 0; i < 10; ++i) {
            assertEq(uint256(outcomes[i]), i == 9 ? 0 : i, "outcome");
            if (i > 1 && i < 9) assertEq(payout.paidAt(items[i].paymentId), 0, "paidAt");
        }
        assertEq(usdc.balanceOf(referrer), 11e6);
        assertEq(sge.balanceOf(referrer), 0);
    }

    function test_TheSecondOfTwoWithOneIdIsAlreadyPaid() public {
        Payout[] memory items = new Payout[](2);
        items[0] = _item(1, 5e6, 0);
        items[1] = _item(1, 6e6, 0);
        PayoutOutcome[] memory outcomes = _payBatch(items);
        _outcome(outcomes[1], PayoutOutcome.AlreadyPaid);
        assertEq(usdc.balanceOf(referrer), 5e6);
    }

    function test_AnIdWhoseFirstItemFailedCanBePaidByItsSecond() public {
        Payout[] memory items = new Payout[](2);
        items[0] = Payout(bytes32(uint256(1)), blockedChild, blocked, 5e6, 0);
        items[1] = _item(1, 6e6, 0);
        PayoutOutcome[] memory outcomes = _payBatch(items);
        _outcome(outcomes[0], PayoutOutcome.TransferFailed);
        _outcome(outcomes[1], PayoutOutcome.Paid);
        assertEq(usdc.balanceOf(referrer), 6e6);
    }

    function test_TheWindowCountsWhatTheBatchItselfHasSpent() public {
        _setWindow(address(usdc), 10e6, WINDOW);
        Payout[] memory items = new Payout[](4);
        items[0] = _item(1, 6e6, 0);
        items[1] = _item(2, 5e6, 0);
        items[2] = _item(3, 4e6, 0);
        items[3] = _item(4, 1, 0);
        PayoutOutcome[] memory outcomes = _payBatch(items);
        _outcome(outcomes[0], PayoutOutcome.Paid);
        _outcome(outcomes[1], PayoutOutcome.WindowExhausted);
        _outcome(outcomes[2], PayoutOutcome.Paid);
        _outcome(outcomes[3], PayoutOutcome.WindowExhausted);
        assertEq(_left(address(usdc)), 0);
    }

    function test_AFailedItemUsesNoWindow() public {
        _setWindow(address(usdc), 10e6, WINDOW);
        Payout[] memory items = new Payout[](2);
        items[0] = Payout(bytes32(uint256(1)), blockedChild, blocked, 10e6, 0);
        items[1] = _item(2, 10e6, 0);
        _outcome(_payBatch(items)[1], PayoutOutcome.Paid);
    }

    function test_FundsCountWhatTheBatchItselfHasSpent() public {
        vm.prank(treasurer);
        payout.withdraw(address(usdc), treasurer, USDC_FUNDS - 10e6);
        Payout[] memory items = new Payout[](3);
        items[0] = _item(1, 6e6, 0);
        items[1] = _item(2, 5e6, 0);
        items[2] = _item(3, 4e6, 0);
        PayoutOutcome[] memory outcomes = _payBatch(items);
        _outcome(outcomes[1], PayoutOutcome.FundsLow);
        _outcome(outcomes[2], PayoutOutcome.Paid);
    }

    function test_AHybridItemIsAllOrNothing() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        token.setTransferMode(blocked, OddToken.Transfer.Revert);
        token.setRevertBytes(64);
        usdc.setBlocklisted(blocked, false);
        Payout[] memory items = new Payout[](2);
        items[0] = Payout(bytes32(uint256(1)), blockedChild, blocked, 5e6, 7e18);
        items[1] = _item(2, 5e6, 7e18);
        vm.expectEmit(address(odd));
        emit IAffiliatePayout.PayoutFailed(
            bytes32(uint256(1)), uint8(PayoutOutcome.TransferFailed), abi.encodePacked(type(uint256).max, uint256(0))
        );
        vm.prank(relayer);
        PayoutOutcome[] memory outcomes = odd.payAffiliateBatch(items);
        _outcome(outcomes[0], PayoutOutcome.TransferFailed);
        _outcome(outcomes[1], PayoutOutcome.Paid);
        assertEq(usdc.balanceOf(blocked), 0);
        assertEq(usdc.balanceOf(referrer), 5e6);
        assertEq(token.balanceOf(referrer), 7e18);
        (,,,, uint256 left) = odd.limits(address(usdc));
        assertEq(left, USDC_LIMIT - 5e6);
    }

    function test_AHybridItemWhoseUSDCIsRefusedMovesNothing() public {
        Payout[] memory items = _one(Payout(bytes32(uint256(1)), blockedChild, blocked, 5e6, 7e18));
        _outcome(_payBatch(items)[0], PayoutOutcome.TransferFailed);
        assertEq(sge.balanceOf(blocked), 0);
    }

    function test_OddTokens_ChangeNothingForTheOthers() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        PayoutOutcome failed = PayoutOutcome.TransferFailed;
        PayoutOutcome[8] memory expected =
            [PayoutOutcome.Paid, failed, PayoutOutcome.Paid, failed, failed, PayoutOutcome.Paid, failed, failed];
        token.setRevertBytes(30_000);
        for (uint256 hybrid = 0; hybrid < 2; ++hybrid) {
            for (uint256 mode = 0; mode < 8; ++mode) {
                token.setTransferMode(blocked, OddToken.Transfer(mode));
                usdc.setBlocklisted(blocked, false);
                Payout[] memory items = new Payout[](3);
                bytes32 id = bytes32(1000 * hybrid + 10 * mode + 1);
                items[0] = Payout(id, child, referrer, 1e6, 1e18);
                items[1] = Payout(bytes32(uint256(id) + 1), blockedChild, blocked, hybrid * 1e6, 1e18);
                items[2] = Payout(bytes32(uint256(id) + 2), child, referrer, 1e6, 0);
                vm.prank(relayer);
                PayoutOutcome[] memory outcomes = odd.payAffiliateBatch(items);
                _outcome(outcomes[0], PayoutOutcome.Paid);
                _outcome(outcomes[1], expected[mode]);
                _outcome(outcomes[2], PayoutOutcome.Paid);
            }
        }
    }

    function test_OddTokens_TheReasonIsCutAt256Bytes() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        token.setTransferMode(blocked, OddToken.Transfer.Revert);
        token.setRevertBytes(30_000);
        bytes memory cut = new bytes(256);
        for (uint256 i = 0; i < 32; ++i) {
            cut[i] = 0xff;
        }
        usdc.setBlocklisted(blocked, false);
        for (uint256 hybrid = 0; hybrid < 2; ++hybrid) {
            vm.expectEmit(address(odd));
            emit IAffiliatePayout.PayoutFailed(bytes32(hybrid + 1), uint8(PayoutOutcome.TransferFailed), cut);
            vm.prank(relayer);
            odd.payAffiliateBatch(_one(Payout(bytes32(hybrid + 1), blockedChild, blocked, hybrid * 1e6, 7e18)));
        }
    }

    function test_OddTokens_ABurningRecipientCannotEatTheBatch() public {
        usdc.setBlocklisted(blocked, false);
        usdc.setBurnedGas(blocked, type(uint64).max);
        Payout[] memory items = new Payout[](2);
        items[0] = Payout(bytes32(uint256(1)), blockedChild, blocked, 5e6, 0);
        items[1] = _item(2, 5e6, 0);
        uint256 before = gasleft();
        PayoutOutcome[] memory outcomes = _payBatch(items);
        assertLt(before - gasleft(), 300_000);
        _outcome(outcomes[0], PayoutOutcome.TransferFailed);
        _outcome(outcomes[1], PayoutOutcome.Paid);
    }

    function test_OddTokens_AnUnreadableTokenFailsOnlyItsOwnItems() public {
        (AffiliatePayout odd, OddToken token) = _oddSGE();
        token.setReadMode(OddToken.Read.BurnAll);
        Payout[] memory items = new Payout[](2);
        items[0] = _item(1, 0, 7e18);
        items[1] = _item(2, 5e6, 0);
        vm.prank(relayer);
        PayoutOutcome[] memory outcomes = odd.payAffiliateBatch(items);
        _outcome(outcomes[0], PayoutOutcome.FundsLow);
        _outcome(outcomes[1], PayoutOutcome.Paid);
    }

    function test_RevertWhen_TheGasIsLow() public {
        Payout[] memory items = new Payout[](3);
        for (uint256 i = 0; i < 3; ++i) {
            items[i] = _item(i + 1, 5e6, 0);
        }
        vm.prank(relayer);
        (bool ok, bytes memory reason) =
            address(payout).call{gas: 230_000}(abi.encodeCall(payout.payAffiliateBatch, (items)));
        assertFalse(ok);
        assertEq(bytes4(reason), IAffiliatePayout.InsufficientGas.selector);
        assertEq(usdc.balanceOf(referrer), 0);
    }

    function test_RevertWhen_CallerIsNoRelayer() public {
        bytes32 role = payout.RELAYER_ROLE();
        for (uint160 i = 0; i < 6; ++i) {
            address caller = address(0xA0 + i);
            if (caller == relayer) continue;
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, role)
            );
            vm.prank(caller);
            payout.payAffiliateBatch(_one(_item(1, 5e6, 0)));
        }
    }

    function test_RevertWhen_Paused() public {
        vm.prank(pauser);
        payout.pause();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        _payBatch(_one(_item(1, 5e6, 0)));
    }

    function _oddSGE() private returns (AffiliatePayout odd, OddToken token) {
        token = new OddToken();
        odd = _deployPayout(address(usdc), address(token));
        usdc.mint(address(odd), USDC_FUNDS);
        token.mint(address(odd), SGE_FUNDS);
    }
}
