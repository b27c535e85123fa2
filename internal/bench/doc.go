// Package bench measures what Hookline promises, against raw ceilings that are measured in the same run.
//
// Contract. Run measures the benchmarks one after the other, prints a table and writes the results as JSON. Every
// load is bounded in count and time, and stays on the loopback interface and in a directory of its own.
//
//   - What is compared runs in interleaved pairs, each on both sides, in alternating order; the median counts.
//   - Both sides of a pair send to the same receiver: a process of its own, so that its CPU time is nobody's, which
//     reads a request, looks at two headers and answers {"code":0,"msg":"success"}.
//   - Queue servers are started by a program of their own (queueserver), since the product does not carry them; where it
//     or a server is missing the result says that it was skipped.
//   - The receiver, and what has to be measured in a fresh process, is this executable started again with RoleEnv in
//     its environment: main must call RunChild before anything else. Such a process ends with its parent.
package bench
