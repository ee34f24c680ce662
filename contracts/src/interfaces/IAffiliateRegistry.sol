// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Referral, RegistrationOutcome} from "../types/DataTypes.sol";

/// @title Affiliate registry
/// @notice Who referred whom. A referral is written once and never changes.
interface IAffiliateRegistry {
    /// @notice `child` was recorded as referred by `referrer`.
    event ReferralRegistered(address indexed child, address indexed referrer);

    /// @notice An item of a batch was not recorded.
    /// @param outcome A `RegistrationOutcome` other than `Registered`.
    event ReferralRejected(address indexed child, address indexed referrer, uint8 outcome);

    /// @notice Child or referrer is the zero address.
    error ZeroAddress();

    /// @notice `child` would be its own referrer.
    error SelfReferral(address child);

    /// @notice `referrer` was itself referred by `child`.
    error ReferralCycle(address child, address referrer);

    /// @notice `child` is recorded with the referrer `recorded`, which never changes.
    error ReferrerConflict(address child, address recorded);

    /// @notice Records one referral. Recording the same referral again changes nothing and does not revert.
    /// @dev Caller needs `RELAYER_ROLE`; reverts while paused.
    function registerReferral(address child, address referrer) external;

    /// @notice Records many referrals. A rejected item changes nothing for the others.
    /// @dev Caller needs `RELAYER_ROLE`; reverts while paused.
    /// @return outcomes One per item, in order.
    function registerReferralBatch(Referral[] calldata referrals)
        external
        returns (RegistrationOutcome[] memory outcomes);

    /// @notice Stops registrations at once. Caller needs `PAUSER_ROLE`.
    function pause() external;

    /// @notice Lets registrations flow again. Admin only.
    function unpause() external;

    /// @notice The referrer of `child`, or the zero address.
    function referrerOf(address child) external view returns (address referrer);

    /// @notice The referrers of many children, in order; the zero address where there is none.
    function referrerOfBatch(address[] calldata children) external view returns (address[] memory referrers);

    /// @notice Whether the contract is paused.
    function paused() external view returns (bool);

    /// @notice Whether `account` holds `role`.
    function hasRole(bytes32 role, address account) external view returns (bool);
}
