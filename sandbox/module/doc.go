// Package module reads WebAssembly binaries without running them: what a module is, what it exports
// and imports, and whether the sandbox offers that. It says in one sentence what is wrong with a file
// that is no such module.
//
// It is the first look, and a cheap one: it walks sections and instructions once, bounds what makes
// compilation expensive (size, functions, locals, nesting) and pins the features to those of
// WebAssembly 2.0. Types and stack discipline are left to the engine's validator, which runs next.
// Format: https://webassembly.github.io/spec/core/binary/index.html.
package module
