// Package queuetest is the conformance suite of queue destinations: Run checks, against a server with a proxy in front
// of it that cuts, delays and swallows, what package port promises of every Destination.
package queuetest
