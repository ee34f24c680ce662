// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AffiliatePayout} from "../../src/AffiliatePayout.sol";
import {AffiliateRegistry} from "../../src/AffiliateRegistry.sol";
import {Payout, PayoutOutcome, Referral, RegistrationOutcome} from "../../src/types/DataTypes.sol";
import {TestSGE} from "../../test-tokens/TestSGE.sol";
import {TestUSDC} from "../../test-tokens/TestUSDC.sol";
import {Cheats} from "../utils/Cheats.sol";

/// @dev Drives registry and payout at random, keeps its own record of all that should be true, and counts what is not.
contract PayoutHandler {
    Cheats private constant cheats = Cheats(address(uint160(uint256(keccak256("hevm cheat code")))));

    struct Roles {
        address admin;
        address relayer;
        address pauser;
        address limiter;
        address treasurer;
        address stranger;
    }

    struct Outflow {
        uint256 time;
        uint256 amount;
    }

    /// @dev What is known of one token, and what the batch at hand should find.
    struct Model {
        uint256 left;
        uint256 funds;
        uint256 spent;
    }

    uint48 public constant WINDOW = 1000;
    uint256 public constant PEOPLE = 8;

    AffiliateRegistry public registry;
    AffiliatePayout public payout;
    TestUSDC public usdc;
    TestSGE public sge;
    Roles private _roles;

    // The record.
    mapping(address token => Outflow[]) public outflows;
    mapping(address token => uint256) public paidTotal;
    mapping(address token => uint256) public minted;
    mapping(address token => uint256) public withdrawn;
    mapping(address token => uint256) public limitOf;
    mapping(address token => uint256) public capOf;
    mapping(address token => mapping(address account => uint256)) public received;
    mapping(bytes32 paymentId => uint256) public paidIn;
    mapping(bytes32 paymentId => uint256) public timesPaid;
    bytes32[] public paidIds;
    mapping(address child => address) public referrerOf;
    bool public paused;

    // What must stay zero.
    uint256 public wrongOutcomes;
    uint256 public overLimit;
    uint256 public movedWhilePaused;
    uint256 public unauthorized;
    uint256 public loosened;

    // What must not: the proof that the runs do something.
    mapping(uint256 outcome => uint256) public seen;
    uint256 public calls;
    uint256 public singlesPaid;
    uint256 public triedWhilePaused;
    uint256 public triedWithoutRole;

    modifier counted() {
        ++calls;
        _;
    }

    constructor(
        AffiliateRegistry registry_,
        AffiliatePayout payout_,
        TestUSDC usdc_,
        TestSGE sge_,
        Roles memory roles_
    ) {
        (registry, payout, usdc, sge, _roles) = (registry_, payout_, usdc_, sge_, roles_);
        for (uint256 i = 0; i < 2; ++i) {
            address token = i == 0 ? address(usdc_) : address(sge_);
            (capOf[token], limitOf[token],,,) = payout_.limits(token);
            minted[token] = payout_.funds(token);
        }
    }

    function payBatch(uint256 seed, uint256 count) external counted {
        Payout[] memory items = new Payout[](1 + count % 6);
        for (uint256 i = 0; i < items.length; ++i) {
            items[i] = _anyItem(uint256(keccak256(abi.encode(seed, i))));
        }
        (Model memory u, Model memory s) = (_model(address(usdc)), _model(address(sge)));
        cheats.prank(_roles.relayer);
        try payout.payAffiliateBatch(items) returns (PayoutOutcome[] memory outcomes) {
            if (paused) ++movedWhilePaused;
            for (uint256 i = 0; i < items.length; ++i) {
                PayoutOutcome expected = _expect(items[i], u, s);
                if (outcomes[i] != expected) ++wrongOutcomes;
                ++seen[uint256(outcomes[i])];
                if (outcomes[i] == PayoutOutcome.Paid) _paid(items[i], u, s);
            }
            _recordOutflow(address(usdc), u.spent);
            _recordOutflow(address(sge), s.spent);
        } catch {
            if (paused) ++triedWhilePaused;
            else ++wrongOutcomes;
        }
    }

    function payUSDC(uint256 seed) external counted {
        Payout memory item = _anyItem(uint256(keccak256(abi.encode(seed))));
        item.sgeAmount = 0;
        _paySingle(
            item, abi.encodeCall(payout.payAffiliateUSDC, (item.paymentId, item.child, item.referrer, item.usdcAmount))
        );
    }

    function payHybrid(uint256 seed) external counted {
        Payout memory item = _anyItem(uint256(keccak256(abi.encode(seed))));
        _paySingle(
            item,
            abi.encodeCall(
                payout.payAffiliateHybrid, (item.paymentId, item.child, item.referrer, item.usdcAmount, item.sgeAmount)
            )
        );
    }

    function payAsAnybodyElse(uint256 seed, uint256 who) external counted {
        ++triedWithoutRole;
        Payout[] memory items = new Payout[](1);
        items[0] = _anyItem(uint256(keccak256(abi.encode(seed))));
        address[5] memory callers = [_roles.admin, _roles.pauser, _roles.limiter, _roles.treasurer, _roles.stranger];
        cheats.prank(callers[who % 5]);
        try payout.payAffiliateBatch(items) {
            ++unauthorized;
        } catch {}
        cheats.prank(_roles.relayer);
        try payout.setWindow(address(usdc), type(uint208).max, WINDOW) {
            ++unauthorized;
        } catch {}
    }

    function register(uint256 seed, uint256 count) external counted {
        Referral[] memory items = new Referral[](1 + count % 4);
        for (uint256 i = 0; i < items.length; ++i) {
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            items[i] = Referral(person(random % PEOPLE), person((random >> 128) % PEOPLE));
        }
        cheats.prank(_roles.relayer);
        RegistrationOutcome[] memory outcomes = registry.registerReferralBatch(items);
        for (uint256 i = 0; i < items.length; ++i) {
            if (outcomes[i] != RegistrationOutcome.Registered) continue;
            if (referrerOf[items[i].child] != address(0)) ++wrongOutcomes;
            referrerOf[items[i].child] = items[i].referrer;
        }
    }

    function warp(uint256 seconds_) external counted {
        cheats.warp(block.timestamp + seconds_ % (WINDOW / 2));
        cheats.roll(block.number + 1);
    }

    function setLimit(uint256 limit, bool ofUSDC, bool byAdmin) external counted {
        address token = ofUSDC ? address(usdc) : address(sge);
        uint256 unit = ofUSDC ? 1e6 : 1e18;
        limit = uint256(keccak256(abi.encode(limit))); // the fuzzer likes small numbers
        limit = limit % 16 == 0 ? 0 : (limit >> 8) % (10_000 * unit);
        cheats.prank(byAdmin ? _roles.admin : _roles.limiter);
        try payout.setWindow(token, uint208(limit), WINDOW) {
            if (!byAdmin && limit > limitOf[token]) ++loosened;
            limitOf[token] = limit;
        } catch {}
    }

    function setCap(uint256 cap, bool ofUSDC, bool byAdmin) external counted {
        address token = ofUSDC ? address(usdc) : address(sge);
        uint256 unit = ofUSDC ? 1e6 : 1e18;
        cap = uint256(keccak256(abi.encode(cap)));
        cap = (20 + cap % 500) * unit;
        cheats.prank(byAdmin ? _roles.admin : _roles.limiter);
        try payout.setPayoutCap(token, cap) {
            if (!byAdmin && cap >= capOf[token]) ++loosened;
            capOf[token] = cap;
        } catch {}
    }

    function pauseOrUnpause(uint256 seed) external counted {
        if (paused) {
            cheats.prank(_roles.admin);
            payout.unpause();
            paused = false;
        } else if (seed % 3 == 0) {
            cheats.prank(_roles.pauser);
            payout.pause();
            paused = true;
        }
    }

    function block_(uint256 who, bool blocked) external counted {
        usdc.setBlocklisted(person(who % PEOPLE), blocked);
    }

    function fundOrWithdraw(uint256 amount, bool ofUSDC, bool fund) external counted {
        address token = ofUSDC ? address(usdc) : address(sge);
        uint256 unit = ofUSDC ? 1e6 : 1e18;
        amount = uint256(keccak256(abi.encode(amount)));
        if (amount % 8 == 0 && !fund) amount = type(uint256).max; // all of it
        else amount = amount % ((fund ? 3000 : 2000) * unit);
        if (fund) {
            minted[token] += amount;
            if (ofUSDC) usdc.mint(address(payout), amount);
            else sge.mint(address(payout), amount);
        } else {
            uint256 funds = payout.funds(token);
            if (amount > funds) amount = funds;
            withdrawn[token] += amount;
            cheats.prank(_roles.treasurer);
            payout.withdraw(token, _roles.treasurer, amount);
        }
    }

    /// @dev What left in the last `length` seconds.
    function outflowWithin(address token, uint256 length) public view returns (uint256 sum) {
        Outflow[] storage all = outflows[token];
        for (uint256 i = all.length; i > 0 && all[i - 1].time + length > block.timestamp; --i) {
            sum += all[i - 1].amount;
        }
    }

    function paidCount() external view returns (uint256) {
        return paidIds.length;
    }

    function person(uint256 i) public pure returns (address) {
        return address(uint160(0xF00D00 + i));
    }

    function _paySingle(Payout memory item, bytes memory input) private {
        (Model memory u, Model memory s) = (_model(address(usdc)), _model(address(sge)));
        PayoutOutcome expected = _expect(item, u, s);
        cheats.prank(_roles.relayer);
        (bool ok,) = address(payout).call(input);
        if (paused) {
            ++triedWhilePaused;
            if (ok) ++movedWhilePaused;
        } else if (ok != (expected == PayoutOutcome.Paid)) {
            ++wrongOutcomes;
        }
        if (!ok) return;
        ++singlesPaid;
        _paid(item, u, s);
        _recordOutflow(address(usdc), u.spent);
        _recordOutflow(address(sge), s.spent);
    }

    function _anyItem(uint256 random) private view returns (Payout memory item) {
        item.paymentId = bytes32(1 + random % 4096);
        item.child = person((random >> 16) % (PEOPLE + 2)); // two are never registered
        item.referrer = referrerOf[item.child];
        if ((random >> 32) % 16 == 0) item.referrer = person((random >> 40) % PEOPLE);
        if ((random >> 32) % 8 == 1 && paidIds.length != 0) item.paymentId = paidIds[(random >> 40) % paidIds.length];
        if ((random >> 48) % 6 != 0) item.usdcAmount = (random >> 64) % 300e6;
        if ((random >> 56) % 3 == 0) item.sgeAmount = (random >> 128) % 300e18;
    }

    function _model(address token) private view returns (Model memory model) {
        // Within the bounds that `invariant_TheWindowHolds` sets.
        (,,,, model.left) = payout.limits(token);
        model.funds = minted[token] - withdrawn[token] - paidTotal[token];
    }

    /// @dev The rules once more, in the plainest words.
    function _expect(Payout memory item, Model memory u, Model memory s) private view returns (PayoutOutcome) {
        if (timesPaid[item.paymentId] != 0) return PayoutOutcome.AlreadyPaid;
        if (item.usdcAmount == 0 && item.sgeAmount == 0) return PayoutOutcome.ZeroAmount;
        if (referrerOf[item.child] == address(0)) return PayoutOutcome.NotRegistered;
        if (referrerOf[item.child] != item.referrer) return PayoutOutcome.WrongReferrer;
        if (item.usdcAmount != 0 && item.usdcAmount > capOf[address(usdc)]) return PayoutOutcome.AboveCap;
        if (item.sgeAmount != 0 && item.sgeAmount > capOf[address(sge)]) return PayoutOutcome.AboveCap;
        if (item.usdcAmount > u.left || item.sgeAmount > s.left) return PayoutOutcome.WindowExhausted;
        if (item.usdcAmount > u.funds || item.sgeAmount > s.funds) return PayoutOutcome.FundsLow;
        if (item.usdcAmount != 0 && usdc.blocklisted(item.referrer)) return PayoutOutcome.TransferFailed;
        return PayoutOutcome.Paid;
    }

    function _paid(Payout memory item, Model memory u, Model memory s) private {
        u.left -= item.usdcAmount;
        u.funds -= item.usdcAmount;
        u.spent += item.usdcAmount;
        s.left -= item.sgeAmount;
        s.funds -= item.sgeAmount;
        s.spent += item.sgeAmount;
        received[address(usdc)][item.referrer] += item.usdcAmount;
        received[address(sge)][item.referrer] += item.sgeAmount;
        if (timesPaid[item.paymentId]++ == 0) paidIds.push(item.paymentId);
        paidIn[item.paymentId] = block.number;
    }

    function _recordOutflow(address token, uint256 amount) private {
        if (amount == 0) return;
        outflows[token].push(Outflow(block.timestamp, amount));
        paidTotal[token] += amount;
        if (outflowWithin(token, WINDOW) > limitOf[token]) ++overLimit;
    }
}
