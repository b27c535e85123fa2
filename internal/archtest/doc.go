// Package archtest holds the import rules of the module as code, and the test that applies them to the module
// itself. It is imported by nothing.
//
// Contract. [Check] looks at the imports of non-test files. Where a rule says "never", it is also about what
// is reached through other packages of the module, so that a neutral package can't be used as a bridge. The rules:
//
//  1. event imports the standard library only; receiver imports the standard library and event; no public package
//     imports an internal one.
//  2. Media packages never reach sequencing, journal, delivery or decisions; event packages never reach media.
//     decision may import the hub's package for its questions and options.
//  3. Protocol packages never import each other, and neither the hub nor a format imports a protocol.
//  4. Formats and media have no sockets and no files; formats start no goroutines.
//  5. Only cmd and the composition root (internal/server) import internal/config.
//
// Beside the rules, no hand-written source file is longer than [MaxLines].
package archtest
