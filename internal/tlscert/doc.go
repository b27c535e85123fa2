// Package tlscert holds the certificates of the TLS listeners: where they come from, which one a client gets, and their
// exchange while the server runs.
//
// Contract. A Store reads certificates and keys from PEM files, pairs of files and directories. A key belongs to the
// certificate that has its public key; file names mean nothing. The client's server name (SNI) selects the certificate:
// the exact name, then a wildcard, then the first one, and among those of one name the first whose kind of key the client
// can use. Reload and Watch replace all certificates at once, for handshakes that come later; what can't be used
// replaces nothing. All methods are safe for concurrent use.
package tlscert
