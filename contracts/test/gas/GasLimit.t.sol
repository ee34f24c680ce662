// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AffiliatePayout} from "../../src/AffiliatePayout.sol";
import {IAffiliatePayout} from "../../src/interfaces/IAffiliatePayout.sol";
import {Payout, PayoutOutcome, Referral, RegistrationOutcome} from "../../src/types/DataTypes.sol";
import {Base} from "../utils/Base.sol";
import {OddToken} from "../utils/OddToken.sol";

/// @dev The formulas of gas.md, held against the worst that can happen. Everything starts cold.
contract GasLimitTest is Base {
    uint256 internal constant PAY_BASE = 180_000;
    uint256 internal constant PAY_ITEM = 70_000;
    uint256 internal constant PAY_HYBRID_ITEM = 105_000;
    uint256 internal constant PAY_RESERVE = 240_000;
    uint256 internal constant PAY_WORST_ITEM = 145_000;
    uint256 internal constant PAY_WORST_HYBRID_ITEM = 255_000;
    uint256 internal constant REGISTER_BASE = 35_000;
    uint256 internal constant REGISTER_ITEM = 30_000;

    AffiliatePayout internal odd;
    OddToken internal token;
    /// @dev What else is cold at the beginning of a call.
    address[] internal extra;

    function setUp() public override {
        super.setUp();
        token = new OddToken();
        odd = _deployPayout(address(usdc), address(token));
        usdc.mint(address(odd), USDC_FUNDS);
        token.mint(address(odd), SGE_FUNDS);
        for (uint256 i = 0; i < 100; ++i) {
            _register(_child(i), _referrer(i));
        }
        // A window with entries.
        for (uint256 i = 0; i < 300; ++i) {
            vm.warp(block.timestamp + 12);
            vm.prank(relayer);
            odd.payAffiliateHybrid(keccak256(abi.encode("history", i)), child, referrer, 1e6, 1e18);
        }
    }

    function test_Payout_TheExpectedLimitPaysNewRecipients() public {
        uint256[3] memory sizes = [uint256(1), 10, 100];
        for (uint256 k = 0; k < 3; ++k) {
            uint256 n = sizes[k];
            _check(_items(n, 0), PAY_BASE + n * PAY_ITEM + PAY_RESERVE, PayoutOutcome.Paid);
            _check(_items(n, 1e18), PAY_BASE + n * PAY_HYBRID_ITEM + PAY_RESERVE, PayoutOutcome.Paid);
        }
    }

    function test_Payout_TheExpectedLimitPaysOne() public {
        bytes memory input = abi.encodeCall(odd.payAffiliateUSDC, (bytes32(uint256(1)), _child(1), _referrer(1), 5e6));
        (bool ok,) = _call(address(odd), input, PAY_BASE + PAY_ITEM + PAY_RESERVE);
        assertTrue(ok);
        input = abi.encodeCall(odd.payAffiliateHybrid, (bytes32(uint256(2)), _child(2), _referrer(2), 5e6, 1e18));
        (ok,) = _call(address(odd), input, PAY_BASE + PAY_HYBRID_ITEM + PAY_RESERVE);
        assertTrue(ok);
    }

    function test_Payout_TheWorstLimitBearsTokensThatBurnAll() public {
        for (uint256 i = 0; i < 30; ++i) {
            usdc.setBurnedGas(_referrer(i), type(uint64).max);
        }
        uint256[3] memory sizes = [uint256(1), 10, 30];
        for (uint256 k = 0; k < 3; ++k) {
            _check(_items(sizes[k], 0), PAY_BASE + sizes[k] * PAY_WORST_ITEM, PayoutOutcome.TransferFailed);
        }
    }

    function test_Payout_TheWorstLimitBearsHybridItemsThatBurnAll() public {
        for (uint256 i = 0; i < 30; ++i) {
            usdc.setBurnedGas(_referrer(i), 55_000); // the transfer just succeeds
            token.setTransferMode(_referrer(i), OddToken.Transfer.BurnAll);
        }
        uint256[3] memory sizes = [uint256(1), 10, 30];
        for (uint256 k = 0; k < 3; ++k) {
            _check(_items(sizes[k], 1e18), PAY_BASE + sizes[k] * PAY_WORST_HYBRID_ITEM, PayoutOutcome.TransferFailed);
        }
    }

    /// @dev A treasury's balance and allowance are read, of both tokens, before the first item.
    function test_Payout_TheWorstLimitBearsReadsThatBurnNearlyAll() public {
        (OddToken first, AffiliatePayout costly) = _costlyToRead();
        uint256[3] memory sizes = [uint256(1), 10, 30];
        for (uint256 k = 0; k < 3; ++k) {
            uint256 limit = PAY_BASE + sizes[k] * PAY_WORST_HYBRID_ITEM;
            _checkOf(costly, _items(sizes[k], 1e18), limit, PayoutOutcome.TransferFailed);
        }
        first.setReadMode(OddToken.Read.BurnAll);
        token.setReadMode(OddToken.Read.BurnAll);
        for (uint256 k = 0; k < 3; ++k) {
            uint256 limit = PAY_BASE + sizes[k] * PAY_WORST_HYBRID_ITEM;
            _checkOf(costly, _items(sizes[k], 1e18), limit, PayoutOutcome.FundsLow);
        }
    }

    /// @dev And the expected limit, where the transfers are those of usual tokens.
    function test_Payout_TheExpectedLimitBearsReadsThatBurnNearlyAll() public {
        (, AffiliatePayout costly) = _costlyToRead();
        for (uint256 i = 0; i < 100; ++i) {
            token.setTransferMode(_referrer(i), OddToken.Transfer.Good);
        }
        uint256[3] memory sizes = [uint256(1), 10, 100];
        for (uint256 k = 0; k < 3; ++k) {
            uint256 limit = PAY_BASE + sizes[k] * PAY_HYBRID_ITEM + PAY_RESERVE;
            _checkOf(costly, _items(sizes[k], 1e18), limit, PayoutOutcome.Paid);
        }
    }

    /// @dev A contract that pays from a treasury, of two tokens whose reads are dear; the second burns all of a transfer.
    function _costlyToRead() private returns (OddToken first, AffiliatePayout costly) {
        first = new OddToken();
        costly = _deployPayout(address(first), address(token));
        address treasury = address(0x7EA5);
        OddToken[2] memory both = [first, token];
        for (uint256 i = 0; i < 2; ++i) {
            both[i].mint(treasury, 1e30);
            both[i].setReadMode(OddToken.Read.Costly);
            vm.prank(treasury);
            both[i].approve(address(costly), 1e30);
        }
        for (uint256 i = 0; i < 100; ++i) {
            token.setTransferMode(_referrer(i), OddToken.Transfer.BurnAll);
        }
        vm.prank(admin);
        costly.setTreasury(treasury);
        extra = [address(costly), address(first)];
    }

    /// @dev Around the guard, in small steps: an item is paid, or all reverts; a costly transfer is never starved.
    function test_Payout_TheGuardLeavesNoGap() public {
        for (uint256 hybrid = 0; hybrid < 2; ++hybrid) {
            bytes memory input = abi.encodeCall(odd.payAffiliateBatch, (_items(1, hybrid * 1e18)));
            usdc.setBurnedGas(_referrer(0), 55_000);
            uint256 paid;
            uint256 reverted;
            for (uint256 gasLimit = 110_000; gasLimit < 380_000; gasLimit += 331) {
                uint256 snapshot = cheats.snapshotState();
                _cool();
                vm.prank(relayer);
                (bool ok, bytes memory answer) = address(odd).call{gas: gasLimit}(input);
                if (ok) {
                    _outcome(abi.decode(answer, (PayoutOutcome[]))[0], PayoutOutcome.Paid);
                    ++paid;
                } else {
                    assertTrue(answer.length == 0 || bytes4(answer) == IAffiliatePayout.InsufficientGas.selector);
                    ++reverted;
                }
                cheats.revertToState(snapshot);
            }
            assertGt(paid, 50);
            assertGt(reverted, 50);
        }
    }

    function test_Registration_TheLimitRecordsAll() public {
        uint256[3] memory sizes = [uint256(1), 10, 100];
        for (uint256 k = 0; k < 3; ++k) {
            Referral[] memory items = new Referral[](sizes[k]);
            for (uint256 i = 0; i < items.length; ++i) {
                items[i] = Referral(_child(1000 * (k + 1) + i), _referrer(1000 * (k + 1) + i));
            }
            uint256 limit = REGISTER_BASE + items.length * REGISTER_ITEM;
            (bool ok, bytes memory answer) =
                _call(address(registry), abi.encodeCall(registry.registerReferralBatch, (items)), limit);
            assertTrue(ok);
            assertEq(uint256(abi.decode(answer, (RegistrationOutcome[]))[items.length - 1]), 0);
        }
        bytes memory input = abi.encodeCall(registry.registerReferral, (_child(9000), _referrer(9000)));
        (bool lone,) = _call(address(registry), input, REGISTER_BASE + REGISTER_ITEM);
        assertTrue(lone);
    }

    function _check(Payout[] memory items, uint256 limit, PayoutOutcome expected) private {
        _checkOf(odd, items, limit, expected);
    }

    function _checkOf(AffiliatePayout of_, Payout[] memory items, uint256 limit, PayoutOutcome expected) private {
        uint256 snapshot = cheats.snapshotState();
        (bool ok, bytes memory answer) = _call(address(of_), abi.encodeCall(odd.payAffiliateBatch, (items)), limit);
        assertTrue(ok, "the limit is enough");
        if (ok) {
            PayoutOutcome[] memory outcomes = abi.decode(answer, (PayoutOutcome[]));
            for (uint256 i = 0; i < outcomes.length; ++i) {
                _outcome(outcomes[i], expected);
            }
        }
        cheats.revertToState(snapshot);
    }

    /// @dev What a transaction with this gas limit leaves for the call itself.
    function _call(address to, bytes memory input, uint256 limit) private returns (bool, bytes memory) {
        uint256 tokens;
        for (uint256 i = 0; i < input.length; ++i) {
            tokens += input[i] == 0 ? 1 : 4;
        }
        assertGte(limit, 21_000 + 10 * tokens, "EIP-7623 floor");
        _cool();
        vm.prank(relayer);
        return to.call{gas: limit - 21_000 - 4 * tokens}(input);
    }

    function _cool() private {
        address[5] memory all = [address(odd), address(payout), address(registry), address(usdc), address(token)];
        for (uint256 i = 0; i < all.length; ++i) {
            cheats.cool(all[i]);
        }
        for (uint256 i = 0; i < extra.length; ++i) {
            cheats.cool(extra[i]);
        }
    }

    function _items(uint256 n, uint256 sgeAmount) private pure returns (Payout[] memory items) {
        items = new Payout[](n);
        for (uint256 i = 0; i < n; ++i) {
            items[i] = Payout(keccak256(abi.encode(n, i)), _child(i), _referrer(i), 12.345678e6, sgeAmount);
        }
    }

    function _child(uint256 i) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("child", i)))));
    }

    function _referrer(uint256 i) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("referrer", i)))));
    }
}
