//go:build race

package market

// raced reduces the number of seeds: the race detector makes everything about ten times slower.
const raced = true
