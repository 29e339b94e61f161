//go:build race

package tape

// Under the race detector everything takes ten times as long.
const raceDetector = true
