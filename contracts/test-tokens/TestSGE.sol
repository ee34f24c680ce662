// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A stand-in for SGE on development chains
/// @notice A plain token of 18 decimals. Worth nothing.
contract TestSGE is ERC20, Ownable {
    constructor(address owner_) ERC20("Test SGE", "SGE") Ownable(owner_) {}

    /// @notice Makes `amount` for `to`. Owner only.
    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }
}
