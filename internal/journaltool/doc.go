// Package journaltool is what an operator does to a journal that no server has open: check it, count what is in it, write
// it out as JSON lines, read such lines into a new one, compact it.
//
// Contract. Check and Export change nothing that a server would notice; Import makes a new directory or nothing. An
// imported journal has the events of the old one, with their ids, seqs, hook_index and positions, and its state; the
// first server that opens it begins a new epoch, because the old one may have gone on.
package journaltool
