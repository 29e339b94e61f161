package soak

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// volumeSize is the size of the volume that is filled: several times as much as the run needs.
const volumeSize = "512m"

// namespaceEnv is set in a process that has its own namespace and may mount.
const namespaceEnv = "TAPEDECK_SOAK_NAMESPACE"

// inNamespace runs the test again in its own namespace, if this user may not mount but may create a
// namespace. It returns whether it did.
func inNamespace(t *testing.T) bool {
	if os.Getuid() == 0 || os.Getenv(namespaceEnv) != "" {
		return false
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := (&exec.Cmd{Path: "/bin/true", Args: []string{"true"}, SysProcAttr: attr}).Run(); err != nil {
		return false
	}
	again := exec.Command(self, append(os.Args[1:], "-test.run=^TestSoak$")...)
	again.Env = append(os.Environ(), namespaceEnv+"=1")
	again.Stdout, again.Stderr, again.SysProcAttr = os.Stdout, os.Stderr, attr
	if err := again.Run(); err != nil {
		t.Fatalf("run in a namespace: %v", err)
	}
	return true
}

// mount mounts a volume of limited size on dir, if this user may.
func (s *soak) mount(dir string) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+volumeSize); err != nil {
		fmt.Printf("the volume will not be filled: mount a tmpfs: %v\n", err)
		return
	}
	s.limited = true
	s.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			s.t.Errorf("unmount %s: %v", dir, err)
		}
	})
}
