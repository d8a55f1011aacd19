package hotplug

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Renamer renames network interfaces. Two that swap their names, or more that pass them round, all get theirs: the one
// that closes the circle steps aside under a temporary name. A name that somebody has who does not give it up is an error.
// The zero value works in the process's network namespace. Methods may be called by any goroutine.
type Renamer struct {
	NetNS int           // a descriptor of the network namespace, 0 means that of the process
	Wait  time.Duration // how long a name that is taken is waited for; 0 means 5 s

	mu      sync.Mutex
	wishes  map[int]string // by interface: the name that it waits for
	changed chan struct{}  // closed at each rename
}

// Rename gives an interface the name to. Fits [StoreOptions.Rename].
func (r *Renamer) Rename(ctx context.Context, index int, from, to string) error {
	if !validInterface(to) {
		return fmt.Errorf("rename %s to %q: %w", from, to, unix.EINVAL)
	}
	wait := r.Wait
	if wait <= 0 {
		wait = 5 * time.Second
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: r.NetNS})
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	defer conn.Close()
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	defer r.forget(index)
	aside := false
	for {
		changed, stepped, err := r.try(conn, index, to, aside)
		aside = aside || stepped
		if err == nil {
			return nil
		}
		if changed != nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			case <-deadline.C:
			}
		}
		err = fmt.Errorf("rename %s to %s: %w", from, to, err)
		if aside {
			if back := setName(conn, index, from); back != nil {
				err = fmt.Errorf("%w, and it stays %s: %w", err, asideName(index), back)
			}
		}
		return err
	}
}

// validInterface says whether a name can be an interface's: one that is all digits would pass for an index, and all and
// default are directories of /proc/sys/net/ipv4/conf.
// Source: systemd, src/basic/socket-util.c, ifname_valid_full.
func validInterface(name string) bool {
	switch name {
	case "", ".", "..", "all", "default":
		return false
	}
	digits := true
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || c == ':' || c == '/' || c == '%' {
			return false
		}
		digits = digits && '0' <= c && c <= '9'
	}
	return len(name) < unix.IFNAMSIZ && !digits
}

func (r *Renamer) forget(index int) {
	r.mu.Lock()
	delete(r.wishes, index)
	r.tell()
	r.mu.Unlock()
}

// tell wakes who waits for a name. The renamer is locked.
func (r *Renamer) tell() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// try tries once. An error with a channel means that the name is taken and may become free when the channel is closed.
func (r *Renamer) try(conn *netlink.Conn, index int, to string, aside bool) (changed <-chan struct{}, stepped bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err = setName(conn, index, to); !errors.Is(err, unix.EEXIST) {
		r.tell()
		return nil, false, err
	}
	if r.wishes == nil {
		r.wishes = make(map[int]string)
	}
	r.wishes[index] = to
	holder := indexOf(conn, to)
	if holder == index && dropAlternative(conn, index, to) == nil { // the name was its own already, as an alternative one
		err := setName(conn, index, to)
		r.tell()
		return nil, false, err
	}
	// Who has the name may wait for another, and so on: when the last one waits for ours, nobody would ever move.
	for at, steps := holder, 0; at != 0 && !aside && steps <= len(r.wishes); steps++ {
		if at == index {
			if back := setName(conn, index, asideName(index)); back == nil {
				stepped = true
				r.tell()
			}
			break
		}
		wish, waits := r.wishes[at]
		if !waits {
			break
		}
		at = indexOf(conn, wish)
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	if holder != 0 {
		err = fmt.Errorf("interface %d has that name: %w", holder, err)
	}
	return r.changed, stepped, err
}

func asideName(index int) string { return fmt.Sprintf("rename%d", index) }

// setName asks the kernel to rename an interface.
// Kernel: net/core/rtnetlink.c, do_setlink.
func setName(conn *netlink.Conn, index int, name string) error {
	data := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(data[4:], uint32(index))
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.IFLA_IFNAME, Data: append([]byte(name), 0)}})
	if err != nil {
		return err
	}
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_SETLINK, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(data, attrs...),
	})
	return plain(err)
}

// dropAlternative takes an alternative name from an interface.
// Kernel: net/core/rtnetlink.c, rtnl_linkprop.
func dropAlternative(conn *netlink.Conn, index int, name string) error {
	data := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(data[4:], uint32(index))
	e := netlink.NewAttributeEncoder()
	e.Nested(unix.IFLA_PROP_LIST, func(list *netlink.AttributeEncoder) error {
		list.String(unix.IFLA_ALT_IFNAME, name)
		return nil
	})
	attrs, err := e.Encode()
	if err != nil {
		return err
	}
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELLINKPROP, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(data, attrs...),
	})
	return plain(err)
}

// indexOf returns the index of the interface with a name, 0 for none.
func indexOf(conn *netlink.Conn, name string) int {
	data := make([]byte, unix.SizeofIfInfomsg)
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.IFLA_IFNAME, Data: append([]byte(name), 0)}})
	if err != nil {
		return 0
	}
	replies, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   append(data, attrs...),
	})
	if err != nil || len(replies) == 0 || len(replies[0].Data) < unix.SizeofIfInfomsg {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(replies[0].Data[4:])))
}

// plain takes the kernel's own word out of the netlink package's error.
func plain(err error) error {
	var op *netlink.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
