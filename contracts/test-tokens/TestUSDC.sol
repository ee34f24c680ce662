// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

/// @title A stand-in for USDC on development chains
/// @notice 6 decimals, a blocklist, a pause, and a way to make transfers to one recipient burn gas. Worth nothing.
contract TestUSDC is ERC20, Ownable, Pausable {
    /// @notice `account` is on the blocklist.
    error Blocklisted(address account);

    /// @notice `account` was put on the blocklist, or taken off it.
    event BlocklistChanged(address indexed account, bool blocked);

    /// @notice Whether `account` may neither send nor receive.
    mapping(address account => bool) public blocklisted;

    /// @notice The gas that a transfer to `recipient` burns besides its own work.
    mapping(address recipient => uint256) public burnedGas;

    constructor(address owner_) ERC20("Test USD Coin", "USDC") Ownable(owner_) {}

    /// @notice Makes `amount` for `to`. Owner only.
    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }

    /// @notice Puts `account` on the blocklist, or takes it off. Owner only.
    function setBlocklisted(address account, bool blocked) external onlyOwner {
        blocklisted[account] = blocked;
        emit BlocklistChanged(account, blocked);
    }

    /// @notice Makes transfers to `recipient` burn `amount` of gas. Owner only.
    function setBurnedGas(address recipient, uint256 amount) external onlyOwner {
        burnedGas[recipient] = amount;
    }

    /// @notice Stops all transfers. Owner only.
    function pause() external onlyOwner {
        _pause();
    }

    /// @notice Lets transfers flow again. Owner only.
    function unpause() external onlyOwner {
        _unpause();
    }

    /// @notice USDC has 6 decimals.
    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function _update(address from, address to, uint256 amount) internal override whenNotPaused {
        if (blocklisted[from]) revert Blocklisted(from);
        if (blocklisted[to]) revert Blocklisted(to);
        uint256 burn = burnedGas[to];
        if (burn != 0) _burnGas(burn);
        super._update(from, to, amount);
    }

    function _burnGas(uint256 amount) private view {
        uint256 start = gasleft();
        while (start - gasleft() < amount) {}
    }
}
