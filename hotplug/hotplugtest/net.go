package hotplugtest

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
)

// Net is a network namespace of a test's own, in which the kernel broadcasts what it is told to. It needs root.
type Net struct {
	FD   int // a descriptor of the namespace
	t    testing.TB
	conn *netlink.Conn
	buf  []byte
}

// NewNet makes a network namespace; it is gone at the test's end. No goroutine is in it but those whose sockets are given
// FD: hotplug.ListenOptions.NetNS.
func NewNet(t testing.TB) *Net {
	t.Helper()
	type made struct {
		fd  int
		err error
	}
	c := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine, and takes its namespace along
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- made{err: err}
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		c <- made{fd, err}
	}()
	m := <-c
	if m.err != nil {
		t.Fatalf("a network namespace of its own: %v: run the test as root: sudo -E go test -tags system ./hotplug/...", m.err)
	}
	conn, err := netlink.Dial(unix.NETLINK_KOBJECT_UEVENT, &netlink.Config{NetNS: m.fd})
	must(t, err)
	n := &Net{FD: m.fd, t: t, conn: conn}
	t.Cleanup(func() { conn.Close(); unix.Close(m.fd) })
	return n
}

// Send makes the kernel broadcast an event in the namespace as its own: from port 0, user 0, with a SEQNUM added.
// Kernel: lib/kobject_uevent.c, uevent_net_rcv_skb.
func (n *Net) Send(action, devpath, subsystem string, properties ...string) error {
	n.buf = hotplug.AppendMessage(n.buf[:0], action, devpath, subsystem, properties...)
	return n.SendRaw(n.buf)
}

// SendRaw makes the kernel broadcast a message with a SEQNUM added, whatever is in it.
func (n *Net) SendRaw(message []byte) error {
	_, err := n.conn.Send(netlink.Message{Header: netlink.Header{Type: 16, Flags: netlink.Request}, Data: message})
	return err
}

// Forge sends a message to a group as a process does, from a port of its own.
func (n *Net) Forge(group int, message []byte) error {
	raw, err := n.conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		sent = unix.Sendto(int(fd), message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (group - 1)})
	})
	if err != nil {
		return err
	}
	return sent
}

// Run starts a program in the namespace and with its own environment; see os.StartProcess. It is killed at the test's end.
func (n *Net) Run(env []string, files []*os.File, argv ...string) (*os.Process, error) {
	type started struct {
		p   *os.Process
		err error
	}
	c := make(chan started)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(n.FD, unix.CLONE_NEWNET); err != nil {
			c <- started{err: fmt.Errorf("enter the namespace: %w", err)}
			return
		}
		p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Env: env, Files: files})
		c <- started{p, err}
	}()
	s := <-c
	if s.err == nil {
		n.t.Cleanup(func() { _ = s.p.Kill(); _, _ = s.p.Wait() })
	}
	return s.p, s.err
}
