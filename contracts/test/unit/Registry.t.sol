// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AffiliateRegistry} from "../../src/AffiliateRegistry.sol";
import {IAffiliateRegistry} from "../../src/interfaces/IAffiliateRegistry.sol";
import {Referral, RegistrationOutcome} from "../../src/types/DataTypes.sol";
import {Base} from "../utils/Base.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

contract RegistryTest is Base {
    address internal constant alice = address(0xD1);
    address internal constant bob = address(0xD2);
    address internal constant carol = address(0xD3);

    // Constructor

    function test_Constructor_GrantsTheRoles() public {
        assertEq(registry.owner(), admin);
        assertEq(registry.defaultAdmin(), admin);
        assertEq(registry.defaultAdminDelay(), 1 days);
        assertTrue(registry.hasRole(registry.RELAYER_ROLE(), relayer));
        assertTrue(registry.hasRole(registry.PAUSER_ROLE(), pauser));
        assertFalse(registry.hasRole(bytes32(0), address(this)));
    }

    function test_Constructor_LeavesRolesOfTheZeroAddressUnassigned() public {
        AffiliateRegistry bare = new AffiliateRegistry(0, admin, address(0), address(0));
        assertFalse(bare.hasRole(bare.RELAYER_ROLE(), address(0)));
        assertFalse(bare.hasRole(bare.PAUSER_ROLE(), address(0)));
    }

    function test_Constructor_RevertWhen_AdminIsZero() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlInvalidDefaultAdmin.selector, address(0)
            )
        );
        new AffiliateRegistry(0, address(0), relayer, pauser);
    }

    // registerReferral

    function test_Register_Records() public {
        vm.expectEmit(address(registry));
        emit IAffiliateRegistry.ReferralRegistered(alice, bob);
        _register(alice, bob);
        assertEq(registry.referrerOf(alice), bob);
    }

    function test_Register_SameAgainChangesNothing() public {
        _register(alice, bob);
        vm.recordLogs();
        _register(alice, bob);
        assertEq(vm.getRecordedLogs().length, 0);
        assertEq(registry.referrerOf(alice), bob);
    }

    function test_Register_AllowsChainsOfThree() public {
        _register(alice, bob);
        _register(bob, carol);
        _register(carol, alice);
        assertEq(registry.referrerOf(carol), alice);
    }

    function test_Register_RevertWhen_ChildIsZero() public {
        vm.expectRevert(IAffiliateRegistry.ZeroAddress.selector);
        _register(address(0), bob);
    }

    function test_Register_RevertWhen_ReferrerIsZero() public {
        vm.expectRevert(IAffiliateRegistry.ZeroAddress.selector);
        _register(alice, address(0));
    }

    function test_Register_RevertWhen_SelfReferral() public {
        vm.expectRevert(abi.encodeWithSelector(IAffiliateRegistry.SelfReferral.selector, alice));
        _register(alice, alice);
    }

    function test_Register_RevertWhen_CycleOfTwo() public {
        _register(alice, bob);
        vm.expectRevert(abi.encodeWithSelector(IAffiliateRegistry.ReferralCycle.selector, bob, alice));
        _register(bob, alice);
    }

    function test_Register_RevertWhen_AnotherReferrerIsRecorded() public {
        _register(alice, bob);
        vm.expectRevert(abi.encodeWithSelector(IAffiliateRegistry.ReferrerConflict.selector, alice, bob));
        _register(alice, carol);
        assertEq(registry.referrerOf(alice), bob);
    }

    function test_Register_RevertWhen_CallerIsNoRelayer() public {
        bytes32 role = registry.RELAYER_ROLE();
        for (uint160 i = 0; i < 6; ++i) {
            address caller = address(0xA0 + i);
            if (caller == relayer) continue;
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, role)
            );
            vm.prank(caller);
            registry.registerReferral(alice, bob);
        }
    }

    function test_Register_RevertWhen_Paused() public {
        _pause();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        _register(alice, bob);
    }

    // registerReferralBatch

    function test_Batch_ReportsEachOutcomeAndRecordsTheRest() public {
        _register(alice, bob);
        Referral[] memory items = new Referral[](8);
        items[0] = Referral(address(0x11), bob);
        items[1] = Referral(alice, bob);
        items[2] = Referral(address(0), bob);
        items[3] = Referral(carol, address(0));
        items[4] = Referral(carol, carol);
        items[5] = Referral(bob, alice);
        items[6] = Referral(alice, carol);
        items[7] = Referral(carol, bob);
        for (uint256 i = 1; i < 7; ++i) {
            vm.expectEmit(address(registry));
            emit IAffiliateRegistry.ReferralRejected(items[i].child, items[i].referrer, [0, 1, 2, 2, 3, 4, 5, 0][i]);
        }
        vm.prank(relayer);
        RegistrationOutcome[] memory outcomes = registry.registerReferralBatch(items);
        for (uint256 i = 0; i < 8; ++i) {
            assertEq(uint256(outcomes[i]), [0, 1, 2, 2, 3, 4, 5, 0][i]);
        }
        assertEq(registry.referrerOf(address(0x11)), bob);
        assertEq(registry.referrerOf(carol), bob);
        assertEq(registry.referrerOf(alice), bob);
        assertEq(registry.referrerOf(bob), address(0));
    }

    function test_Batch_TheFirstOfTwoForOneChildWins() public {
        Referral[] memory items = new Referral[](2);
        items[0] = Referral(alice, bob);
        items[1] = Referral(alice, carol);
        vm.prank(relayer);
        RegistrationOutcome[] memory outcomes = registry.registerReferralBatch(items);
        assertEq(uint256(outcomes[1]), uint256(RegistrationOutcome.ReferrerConflict));
        assertEq(registry.referrerOf(alice), bob);
    }

    function test_Batch_EmptyDoesNothing() public {
        vm.prank(relayer);
        assertEq(registry.registerReferralBatch(new Referral[](0)).length, 0);
    }

    function test_Batch_RevertWhen_CallerIsNoRelayer() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControl.AccessControlUnauthorizedAccount.selector, stranger, registry.RELAYER_ROLE()
            )
        );
        vm.prank(stranger);
        registry.registerReferralBatch(new Referral[](1));
    }

    function test_Batch_RevertWhen_Paused() public {
        _pause();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        vm.prank(relayer);
        registry.registerReferralBatch(new Referral[](1));
    }

    // pause, unpause

    function test_Pause_ByThePauser() public {
        _pause();
        assertTrue(registry.paused());
    }

    function test_Pause_RevertWhen_CallerIsNoPauser() public {
        bytes32 role = registry.PAUSER_ROLE();
        vm.expectRevert(abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, admin, role));
        vm.prank(admin);
        registry.pause();
    }

    function test_Unpause_ByTheAdmin() public {
        _pause();
        vm.prank(admin);
        registry.unpause();
        assertFalse(registry.paused());
        _register(alice, bob);
    }

    function test_Unpause_RevertWhen_CallerIsThePauser() public {
        _pause();
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, pauser, bytes32(0))
        );
        vm.prank(pauser);
        registry.unpause();
    }

    // referrerOfBatch

    function test_ReferrerOfBatch_AnswersInOrder() public {
        _register(alice, bob);
        address[] memory children = new address[](3);
        (children[0], children[1], children[2]) = (carol, alice, child);
        address[] memory referrers = registry.referrerOfBatch(children);
        assertEq(referrers[0], address(0));
        assertEq(referrers[1], bob);
        assertEq(referrers[2], referrer);
    }

    function _pause() private {
        vm.prank(pauser);
        registry.pause();
    }
}
