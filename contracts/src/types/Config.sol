// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice Who holds which role from the first block on. The zero address leaves a role unassigned, except `admin`.
struct InitialRoles {
    uint48 adminDelay; // seconds between beginning and accepting a change of the admin
    address admin;
    address relayer;
    address pauser;
    address limiter;
    address treasurer;
}

/// @notice The limits of one token: see `IAffiliatePayout.setPayoutCap` and `IAffiliatePayout.setWindow`.
struct TokenLimits {
    uint256 cap;
    uint208 limit;
    uint48 window;
}
