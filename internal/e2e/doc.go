// Package e2e holds the tests that run the real hookline binary against real clients: ffmpeg and ffprobe publish and
// play, a net/http receiver takes the hooks and judges them with package ordercheck. It has no code of its own.
//
// Contract of the tests.
//
//   - The binary is built once per run, with the race detector when the tests have it; HOOKLINE_E2E_BINARY names one that
//     is there already. A data race or a panic in a server's log fails the test that started it.
//   - Every test has its own server, state directory, receiver and ports; all traffic stays on the loopback interface.
//   - A tool that is missing fails the test. Nothing is skipped.
//   - Every receiver checks strictly (ordercheck.Options.Since is zero): a violation fails the test that made it.
//   - HOOKLINE_E2E_KILLS sets how often the crash test kills the server; without it the test kills for about 40
//     seconds, and at least 25 times. HOOKLINE_E2E_SOAK sets for how long the soak test keeps a server busy.
package e2e
