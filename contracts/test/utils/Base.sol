// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AffiliatePayout} from "../../src/AffiliatePayout.sol";
import {AffiliateRegistry} from "../../src/AffiliateRegistry.sol";
import {IAffiliatePayout} from "../../src/interfaces/IAffiliatePayout.sol";
import {InitialRoles, TokenLimits} from "../../src/types/Config.sol";
import {Payout, PayoutOutcome} from "../../src/types/DataTypes.sol";
import {TestSGE} from "../../test-tokens/TestSGE.sol";
import {TestUSDC} from "../../test-tokens/TestUSDC.sol";
import {Cheats} from "./Cheats.sol";
import {PRBTest} from "@prb/test/src/PRBTest.sol";

/// @dev The contracts as they are deployed, with one account per role, funded, and `child` registered.
abstract contract Base is PRBTest {
    Cheats internal constant cheats = Cheats(VM_ADDRESS);

    uint48 internal constant WINDOW = 1 days;
    uint256 internal constant USDC_CAP = 1000e6;
    uint208 internal constant USDC_LIMIT = 10_000e6;
    uint256 internal constant SGE_CAP = 10_000e18;
    uint208 internal constant SGE_LIMIT = 100_000e18;
    uint256 internal constant USDC_FUNDS = 1_000_000e6;
    uint256 internal constant SGE_FUNDS = 10_000_000e18;

    address internal constant admin = address(0xA0);
    address internal constant relayer = address(0xA1);
    address internal constant pauser = address(0xA2);
    address internal constant limiter = address(0xA3);
    address internal constant treasurer = address(0xA4);
    address internal constant stranger = address(0xA5);
    address internal constant child = address(0xC1);
    address internal constant referrer = address(0xB1);

    AffiliateRegistry internal registry;
    AffiliatePayout internal payout;
    TestUSDC internal usdc;
    TestSGE internal sge;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        vm.roll(20_000_000);
        usdc = new TestUSDC(address(this));
        sge = new TestSGE(address(this));
        registry = new AffiliateRegistry(1 days, admin, relayer, pauser);
        payout = _deployPayout(address(usdc), address(sge));
        usdc.mint(address(payout), USDC_FUNDS);
        sge.mint(address(payout), SGE_FUNDS);
        _register(child, referrer);
    }

    function _deployPayout(address usdc_, address sge_) internal returns (AffiliatePayout) {
        return new AffiliatePayout(
            address(registry),
            usdc_,
            sge_,
            _roles(),
            TokenLimits({cap: USDC_CAP, limit: USDC_LIMIT, window: WINDOW}),
            TokenLimits({cap: SGE_CAP, limit: SGE_LIMIT, window: WINDOW})
        );
    }

    function _roles() internal pure returns (InitialRoles memory) {
        return InitialRoles({
            adminDelay: 1 days, admin: admin, relayer: relayer, pauser: pauser, limiter: limiter, treasurer: treasurer
        });
    }

    function _register(address child_, address referrer_) internal {
        vm.prank(relayer);
        registry.registerReferral(child_, referrer_);
    }

    function _pay(bytes32 id, uint256 usdcAmount) internal {
        vm.prank(relayer);
        payout.payAffiliateUSDC(id, child, referrer, usdcAmount);
    }

    function _payHybrid(bytes32 id, uint256 usdcAmount, uint256 sgeAmount) internal {
        vm.prank(relayer);
        payout.payAffiliateHybrid(id, child, referrer, usdcAmount, sgeAmount);
    }

    function _payBatch(Payout[] memory items) internal returns (PayoutOutcome[] memory) {
        vm.prank(relayer);
        return payout.payAffiliateBatch(items);
    }

    function _item(uint256 id, uint256 usdcAmount, uint256 sgeAmount) internal pure returns (Payout memory) {
        return Payout(bytes32(id), child, referrer, usdcAmount, sgeAmount);
    }

    function _one(Payout memory item) internal pure returns (Payout[] memory items) {
        items = new Payout[](1);
        items[0] = item;
    }

    function _setWindow(address token, uint208 limit, uint48 window) internal {
        vm.prank(admin);
        payout.setWindow(token, limit, window);
    }

    function _setCap(address token, uint256 cap) internal {
        vm.prank(admin);
        payout.setPayoutCap(token, cap);
    }

    function _left(address token) internal view returns (uint256 left) {
        (,,,, left) = payout.limits(token);
    }

    /// @dev A window of more than 39 bits counts in units of more than one: `SGE_LIMIT` in some 2^38.
    function _leftAbout(address token, uint256 expected) internal {
        assertLte(_left(token), expected, "left at most");
        assertGte(_left(token) + 1e12, expected, "left at least");
    }

    function _outcome(PayoutOutcome actual, PayoutOutcome expected) internal {
        assertEq(uint256(actual), uint256(expected), "outcome");
    }
}
