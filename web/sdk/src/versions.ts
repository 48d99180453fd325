// The versions that belong to this package: versions.toml of the repository pins them, and a test compares.

/** The release of Noir whose programs this version of the package executes. */
export const NOIR_VERSION = '1.0.0-beta.26';
/** The release of bb.js with which it proves and verifies. */
export const BB_VERSION = '5.0.0';
