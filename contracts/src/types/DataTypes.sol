// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice One referral to record: `child` was brought by `referrer`.
struct Referral {
    address child;
    address referrer;
}

/// @notice One commission to pay. Amounts are base units of the respective token.
/// @dev `paymentId = keccak256(abi.encode(source, externalId))`, two strings, never normalised.
struct Payout {
    bytes32 paymentId;
    address child;
    address referrer;
    uint256 usdcAmount;
    uint256 sgeAmount;
}

/// @notice What became of one item of `registerReferralBatch`. The numbers are part of the interface.
enum RegistrationOutcome {
    Registered, // 0: recorded by this call
    AlreadyRegistered, // 1: the same referrer was recorded before; nothing changed
    ZeroAddress, // 2: child or referrer is the zero address
    SelfReferral, // 3: child and referrer are the same
    ReferralCycle, // 4: the referrer was itself referred by the child
    ReferrerConflict // 5: another referrer is recorded for the child, for good
}

/// @notice What became of one item of `payAffiliateBatch`. The numbers are part of the interface.
enum PayoutOutcome {
    Paid, // 0: paid by this call
    AlreadyPaid, // 1: the payment id was paid before; nothing moved
    ZeroAmount, // 2: both amounts are zero
    NotRegistered, // 3: the registry knows no referrer for the child
    WrongReferrer, // 4: the registry knows another referrer for the child
    AboveCap, // 5: an amount is above its token's cap per payout
    WindowExhausted, // 6: an amount is above what its token's rolling window has left
    FundsLow, // 7: an amount is above the funds at hand for its token
    TransferFailed // 8: a token refused the transfer; `PayoutFailed.reason` holds its revert data
}
