// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAffiliateRegistry} from "./interfaces/IAffiliateRegistry.sol";
import {Referral, RegistrationOutcome} from "./types/DataTypes.sol";
import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

/// @title Affiliate registry
/// @notice See {IAffiliateRegistry}. Nobody, not even the admin, can change or remove a recorded referral.
/// @dev Not upgradeable. Makes no external call.
contract AffiliateRegistry is IAffiliateRegistry, Pausable, AccessControlDefaultAdminRules {
    /// @notice May record referrals.
    bytes32 public constant RELAYER_ROLE = keccak256("RELAYER_ROLE");

    /// @notice May pause.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @inheritdoc IAffiliateRegistry
    mapping(address child => address referrer) public override referrerOf;

    /// @param adminDelay Seconds between beginning and accepting a change of the admin.
    /// @param admin The first admin.
    /// @param relayer Gets `RELAYER_ROLE`; the zero address: nobody does.
    /// @param pauser Gets `PAUSER_ROLE`; the zero address: nobody does.
    constructor(uint48 adminDelay, address admin, address relayer, address pauser)
        AccessControlDefaultAdminRules(adminDelay, admin)
    {
        if (relayer != address(0)) _grantRole(RELAYER_ROLE, relayer);
        if (pauser != address(0)) _grantRole(PAUSER_ROLE, pauser);
    }

    /// @inheritdoc IAffiliateRegistry
    function registerReferral(address child, address referrer) external onlyRole(RELAYER_ROLE) whenNotPaused {
        RegistrationOutcome outcome = _register(child, referrer);

        if (outcome == RegistrationOutcome.ZeroAddress) revert ZeroAddress();
        if (outcome == RegistrationOutcome.SelfReferral) revert SelfReferral(child);
        if (outcome == RegistrationOutcome.ReferralCycle) revert ReferralCycle(child, referrer);
        if (outcome == RegistrationOutcome.ReferrerConflict) revert ReferrerConflict(child, referrerOf[child]);
    }

    /// @inheritdoc IAffiliateRegistry
    function registerReferralBatch(Referral[] calldata referrals)
        external
        onlyRole(RELAYER_ROLE)
        whenNotPaused
        returns (RegistrationOutcome[] memory outcomes)
    {
        uint256 count = referrals.length;
        outcomes = new RegistrationOutcome[](count);

        for (uint256 i = 0; i < count; ++i) {
            address child = referrals[i].child;
            address referrer = referrals[i].referrer;
            RegistrationOutcome outcome = _register(child, referrer);
            if (outcome != RegistrationOutcome.Registered) {
                outcomes[i] = outcome;
                emit ReferralRejected(child, referrer, uint8(outcome));
            }
        }
    }

    /// @inheritdoc IAffiliateRegistry
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @inheritdoc IAffiliateRegistry
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    /// @inheritdoc IAffiliateRegistry
    function referrerOfBatch(address[] calldata children) external view returns (address[] memory referrers) {
        uint256 count = children.length;
        referrers = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            referrers[i] = referrerOf[children[i]];
        }
    }

    /// @inheritdoc IAffiliateRegistry
    function paused() public view override(IAffiliateRegistry, Pausable) returns (bool) {
        return super.paused();
    }

    /// @inheritdoc IAffiliateRegistry
    function hasRole(bytes32 role, address account)
        public
        view
        override(IAffiliateRegistry, AccessControl, IAccessControl)
        returns (bool)
    {
        return super.hasRole(role, account);
    }

    /// @dev Records one referral if nothing speaks against it; writes nothing otherwise.
    function _register(address child, address referrer) private returns (RegistrationOutcome) {
        // Check
        if (child == address(0) || referrer == address(0)) return RegistrationOutcome.ZeroAddress;
        if (child == referrer) return RegistrationOutcome.SelfReferral;
        address recorded = referrerOf[child];
        if (recorded != address(0)) {
            return recorded == referrer ? RegistrationOutcome.AlreadyRegistered : RegistrationOutcome.ReferrerConflict;
        }
        if (referrerOf[referrer] == child) return RegistrationOutcome.ReferralCycle;

        // Effect
        referrerOf[child] = referrer;
        emit ReferralRegistered(child, referrer);
        return RegistrationOutcome.Registered;
    }
}
