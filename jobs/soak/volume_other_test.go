//go:build !linux

package soak

import (
	"fmt"
	"testing"
)

func inNamespace(*testing.T) bool { return false }

func (s *soak) mount(string) {
	fmt.Println("the volume will not be filled: the test can limit its size only on Linux")
}
