//go:build race

package market

// raced: the race detector makes everything some ten times slower, so fewer seeds are tried.
const raced = true
