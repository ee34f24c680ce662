//! Turns the Solidity sources into one `sol!` block, so that the bindings cannot drift from the contracts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What is bound: the types and interfaces, and the test tokens that development chains get.
const SOURCES: [&str; 5] = [
    "src/types/DataTypes.sol",
    "src/interfaces/IAffiliateRegistry.sol",
    "src/interfaces/IAffiliatePayout.sol",
    "test-tokens/TestUSDC.sol",
    "test-tokens/TestSGE.sol",
];

fn main() -> io::Result<()> {
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
    let mut block = String::from("alloy::sol! {\n#![sol(rpc)]\n");
    for source in SOURCES {
        let path = contracts.join(source);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        // `sol!` reads one unit: licence, pragma and imports of the single files have no place in it.
        for line in text.lines().filter(|line| !line.starts_with("import ") && !line.starts_with("pragma ")) {
            writeln!(block, "{line}").map_err(io::Error::other)?;
        }
    }
    block.push_str("}\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?);
    fs::write(out.join("bindings.rs"), block)
}
