// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AffiliatePayout} from "../../src/AffiliatePayout.sol";
import {IAffiliatePayout} from "../../src/interfaces/IAffiliatePayout.sol";
import {Payout, PayoutOutcome} from "../../src/types/DataTypes.sol";
import {Base} from "../utils/Base.sol";
import {OddToken} from "../utils/OddToken.sol";
import {VmSafe} from "@prb/test/src/Vm.sol";

contract PayoutFuzzTest is Base {
    address internal constant blocked = address(0xB2);
    address internal constant blockedChild = address(0xC2);

    function setUp() public override {
        super.setUp();
        _register(blockedChild, blocked);
        usdc.setBlocklisted(blocked, true);
    }

    /// @dev Each item of a batch ends as the single call would have, one after the other, with the same reason.
    function testFuzz_BatchEqualsSinglesInOrder(uint256 seed, uint8 count, uint64 usdcLimit, uint96 sgeLimit) public {
        _setWindow(address(usdc), usdcLimit % 3000e6, WINDOW);
        _setWindow(address(sge), sgeLimit % 30_000e18, WINDOW);
        vm.prank(treasurer);
        payout.withdraw(address(usdc), treasurer, USDC_FUNDS - 2000e6);
        Payout[] memory items = new Payout[](count % 24);
        for (uint256 i = 0; i < items.length; ++i) {
            items[i] = _anyItem(uint256(keccak256(abi.encode(seed, i))));
        }

        uint256 snapshot = cheats.snapshotState();
        bytes[] memory expected = new bytes[](items.length);
        for (uint256 i = 0; i < items.length; ++i) {
            expected[i] = _single(items[i]);
        }
        uint256[4] memory balances = _balances();
        cheats.revertToState(snapshot);

        vm.recordLogs();
        PayoutOutcome[] memory outcomes = _payBatch(items);
        VmSafe.Log[] memory logs = vm.getRecordedLogs();
        bytes[] memory reasons = _reasons(logs, outcomes);
        for (uint256 i = 0; i < items.length; ++i) {
            assertEq(outcomes[i] == PayoutOutcome.Paid, expected[i].length == 0, "paid");
            if (outcomes[i] == PayoutOutcome.TransferFailed) {
                address token = address(items[i].usdcAmount != 0 ? address(usdc) : address(sge));
                reasons[i] = abi.encodeWithSelector(IAffiliatePayout.TransferFailed.selector, token, reasons[i]);
            }
            assertEq(reasons[i], expected[i], "reason");
        }
        uint256[4] memory after_ = _balances();
        for (uint256 i = 0; i < 4; ++i) {
            assertEq(after_[i], balances[i], "balances");
        }
    }

    /// @dev Whatever the gas: the batch ends as with plenty of gas, or reverts wholly. Nobody fails by gas alone.
    function testFuzz_LittleGasNeverFailsAnItem(uint256 gasLimit, uint256 burned, uint256 shape) public {
        gasLimit = _bound(gasLimit, 60_000, 900_000);
        usdc.setBurnedGas(referrer, uint64(burned % 60_000));
        Payout[] memory items = new Payout[](1 + shape % 4);
        for (uint256 i = 0; i < items.length; ++i) {
            uint256 kind = (shape >> (8 * i + 8)) % 4;
            items[i] = _item(i + 1, kind == 0 ? 0 : 5e6, kind == 1 ? 0 : 7e18);
            if (kind == 3) (items[i].child, items[i].referrer) = (blockedChild, blocked);
        }
        cheats.cool(address(payout));
        cheats.cool(address(usdc));
        cheats.cool(address(sge));
        cheats.cool(address(registry));
        vm.prank(relayer);
        (bool ok, bytes memory answer) =
            address(payout).call{gas: gasLimit}(abi.encodeCall(payout.payAffiliateBatch, (items)));
        if (ok) {
            PayoutOutcome[] memory outcomes = abi.decode(answer, (PayoutOutcome[]));
            for (uint256 i = 0; i < items.length; ++i) {
                _outcome(outcomes[i], items[i].referrer == blocked ? PayoutOutcome.TransferFailed : PayoutOutcome.Paid);
            }
        } else {
            assertTrue(
                answer.length == 0 || bytes4(answer) == IAffiliatePayout.InsufficientGas.selector, "whole revert"
            );
            for (uint256 i = 0; i < items.length; ++i) {
                assertEq(payout.paidAt(items[i].paymentId), 0);
            }
        }
    }

    /// @dev The same for one payment: with little gas it reverts, and never blames the token.
    function testFuzz_LittleGasNeverBlamesTheToken(uint256 gasLimit, uint256 burned, bool hybrid) public {
        gasLimit = _bound(gasLimit, 60_000, 500_000);
        usdc.setBurnedGas(referrer, uint64(burned % 60_000));
        cheats.cool(address(payout));
        cheats.cool(address(usdc));
        cheats.cool(address(sge));
        vm.prank(relayer);
        (bool ok, bytes memory answer) = address(payout).call{gas: gasLimit}(
            abi.encodeCall(payout.payAffiliateHybrid, (bytes32(uint256(1)), child, referrer, 5e6, hybrid ? 7e18 : 0))
        );
        if (!ok) {
            assertTrue(
                answer.length == 0 || bytes4(answer) == IAffiliatePayout.InsufficientGas.selector, "whole revert"
            );
        }
    }

    /// @dev The window against a model that keeps every payment: never more than the limit in any window to the second, and
    /// never less than the limit in a window and its quarter.
    function testFuzz_WindowIsStrict(uint256 seed, uint48 window, uint8 count) public {
        window = uint48(_bound(window, 1, 1000));
        uint256 piece = window < 5 ? 1 : (uint256(window) + 3) / 4;
        _setWindow(address(usdc), 100e6, window);
        uint256[] memory times = new uint256[](count % 40);
        uint256[] memory amounts = new uint256[](times.length);
        uint256 time = block.timestamp;
        for (uint256 i = 0; i < times.length; ++i) {
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            time += random % window;
            vm.warp(time);
            uint256 amount = 1 + (random >> 128) % 80e6;
            (uint256 strict, uint256 counted) = (0, 0);
            for (uint256 k = 0; k < i; ++k) {
                if (times[k] + window > time) strict += amounts[k];
                if (times[k] / piece + 5 > time / piece) counted += amounts[k];
            }
            PayoutOutcome outcome = _payBatch(_one(_item(i + 1, amount, 0)))[0];
            _outcome(outcome, counted + amount <= 100e6 ? PayoutOutcome.Paid : PayoutOutcome.WindowExhausted);
            times[i] = time;
            if (outcome != PayoutOutcome.Paid) continue;
            assertLte(strict + amount, 100e6, "strict");
            amounts[i] = amount;
        }
    }

    /// @dev Whatever the limits become, what left within a window counts in full, and at most five units more each time.
    function testFuzz_WindowForgetsNothing(uint256 seed, uint8 changes) public {
        _setCap(address(sge), type(uint256).max);
        uint256 slack;
        uint256 spent;
        for (uint256 i = 0; i < changes % 12; ++i) {
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            uint256 limit = (random >> 64) % (1 << (1 + random % 90));
            _setWindow(address(sge), uint208(limit), uint48(WINDOW + (random >> 32) % 2 * i));
            slack += limit >> 35;
            (,,, uint256 used, uint256 left) = payout.limits(address(sge));
            if (left > 100e18) left = 100e18;
            if (left != 0) {
                PayoutOutcome outcome = _payBatch(_one(_item(i + 1, 0, left)))[0];
                _outcome(outcome, PayoutOutcome.Paid);
                spent += left;
            }
            (,,, used,) = payout.limits(address(sge));
            assertGte(used, spent, "forgotten");
            assertLte(used, spent + slack, "too much");
        }
    }

    /// @dev Whatever a limiter may do, never is more left than before.
    function testFuzz_ALimiterOnlyTightens(uint64 spent, uint48 later, uint256 cap, uint208 limit, uint48 window)
        public
    {
        _pay(bytes32(uint256(1)), 1 + spent % USDC_CAP);
        vm.warp(block.timestamp + later % (3 * WINDOW));
        (uint256 capBefore,,,, uint256 leftBefore) = payout.limits(address(usdc));
        vm.startPrank(limiter);
        try payout.setPayoutCap(address(usdc), cap) {} catch {}
        try payout.setWindow(address(usdc), limit, window) {} catch {}
        vm.stopPrank();
        (uint256 capAfter,,,, uint256 leftAfter) = payout.limits(address(usdc));
        assertLte(capAfter, capBefore);
        assertLte(leftAfter, leftBefore);
    }

    /// @dev A reason is what the token said, cut at 256 bytes, in both ways of paying.
    function testFuzz_ReasonsAreBounded(uint16 size, bool hybrid) public {
        OddToken token = new OddToken();
        AffiliatePayout odd = _deployPayout(address(usdc), address(token));
        usdc.mint(address(odd), USDC_FUNDS);
        token.mint(address(odd), SGE_FUNDS);
        token.setTransferMode(referrer, OddToken.Transfer.Revert);
        token.setRevertBytes(size);
        bytes memory reason = new bytes(size < 256 ? size : 256);
        for (uint256 i = 0; i < 32 && i < reason.length; ++i) {
            reason[i] = 0xff;
        }
        vm.expectEmit(address(odd));
        emit IAffiliatePayout.PayoutFailed(bytes32(uint256(1)), uint8(PayoutOutcome.TransferFailed), reason);
        vm.prank(relayer);
        odd.payAffiliateBatch(_one(_item(1, hybrid ? 5e6 : 0, 7e18)));
    }

    function _anyItem(uint256 random) private pure returns (Payout memory item) {
        item = _item(1 + random % 20, 0, 0);
        uint256 kind = (random >> 16) % 10;
        if (kind == 0) item.child = stranger;
        if (kind == 1) item.referrer = stranger;
        if (kind == 2) (item.child, item.referrer) = (blockedChild, blocked);
        if ((random >> 32) % 8 != 0) item.usdcAmount = (random >> 64) % (USDC_CAP + USDC_CAP / 20);
        if ((random >> 48) % 2 != 0) item.sgeAmount = (random >> 128) % (SGE_CAP + SGE_CAP / 20);
        item.sgeAmount &= ~uint256((1 << 36) - 1); // whole units: a batch rounds once, singles each time
    }

    function _single(Payout memory item) private returns (bytes memory) {
        vm.prank(relayer);
        try payout.payAffiliateHybrid(item.paymentId, item.child, item.referrer, item.usdcAmount, item.sgeAmount) {
            return "";
        } catch (bytes memory reason) {
            return reason;
        }
    }

    function _reasons(VmSafe.Log[] memory logs, PayoutOutcome[] memory outcomes)
        private
        returns (bytes[] memory reasons)
    {
        reasons = new bytes[](outcomes.length);
        uint256 item;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter != address(payout)) continue;
            if (logs[i].topics[0] == IAffiliatePayout.PayoutFailed.selector) {
                uint8 outcome;
                (outcome, reasons[item]) = abi.decode(logs[i].data, (uint8, bytes));
                assertEq(outcome, uint256(outcomes[item]), "reported outcome");
                ++item;
            } else if (logs[i].topics[0] == IAffiliatePayout.AffiliatePaid.selector) {
                assertEq(uint256(outcomes[item]), 0, "reported payment");
                ++item;
            }
        }
        assertEq(item, outcomes.length, "one event per item");
    }

    function _balances() private view returns (uint256[4] memory) {
        return [usdc.balanceOf(referrer), sge.balanceOf(referrer), _left(address(usdc)), _left(address(sge))];
    }

    function _bound(uint256 value, uint256 low, uint256 high) private pure returns (uint256) {
        return low + value % (high - low + 1);
    }
}
