//go:build !race

package pebble

// stride 1: exhaustive tests take every case.
const stride = 1
