package builtin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ACLEntry is one entry of a node's access list. See acl(5).
type ACLEntry struct {
	Tag  ACLTag
	Perm uint16 // 4 read, 2 write, 1 execute
	ID   uint32 // of the user or group; ^0 where the tag needs none
}

// ACLTag says whom an entry is about. Kernel: include/uapi/linux/posix_acl.h.
type ACLTag uint16

const (
	ACLOwner      ACLTag = 0x01
	ACLUser       ACLTag = 0x02
	ACLOwnerGroup ACLTag = 0x04
	ACLGroup      ACLTag = 0x08
	ACLMask       ACLTag = 0x10
	ACLOther      ACLTag = 0x20
)

// uaccess gives the user of the active session of the device's seat access to its node, and takes it from every other
// user that was given it. Where no login manager keeps sessions, it changes nothing, as udev does.
func (t *Table) uaccess(ctx context.Context, call *Call) error {
	dev := call.Device
	run := dev.Roots().RunDir()
	if _, err := os.Stat(filepath.Join(run, "systemd/seats")); err != nil {
		return nil
	}
	if dev.Devname() == "" {
		return errors.New("the device has no node")
	}
	seat, ok := call.Get("ID_SEAT")
	if !ok {
		seat = "seat0"
	}
	user, active := activeUser(filepath.Join(run, "systemd/seats", filepath.Base(seat)))
	path := filepath.Join(dev.Roots().DevDir(), dev.Devname())
	have, err := readACL(path)
	if err != nil {
		return fmt.Errorf("access list of %s: %w", path, err)
	}
	want := grant(have, user, active && user != 0)
	if slices.Equal(have, want) {
		return nil
	}
	if err := t.opts.SetACL(path, want); err != nil {
		return fmt.Errorf("access list of %s: %w", path, err)
	}
	return nil
}

// activeUser reads a seat's file of the login manager: ACTIVE_UID=.
func activeUser(path string) (uid uint32, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if v, is := strings.CutPrefix(strings.TrimSpace(line), "ACTIVE_UID="); is {
			n, err := strconv.ParseUint(v, 10, 32)
			return uint32(n), err == nil
		}
	}
	return 0, false
}

// grant returns the list without named users, but for the one given (if add), who may read and write; the mask covers
// what the named users and groups have.
func grant(have []ACLEntry, user uint32, add bool) []ACLEntry {
	var out []ACLEntry
	flushed := false
	for _, e := range have {
		switch e.Tag {
		case ACLUser:
			flushed = true
		case ACLMask:
		default:
			out = append(out, e)
		}
	}
	if !flushed && !add {
		return have
	}
	if add {
		out = append(out, ACLEntry{ACLUser, 6, user})
	}
	mask, named := uint16(0), false
	for _, e := range out {
		switch e.Tag {
		case ACLUser, ACLGroup:
			named = true
			mask |= e.Perm
		case ACLOwnerGroup:
			mask |= e.Perm
		}
	}
	if named || flushed {
		out = append(out, ACLEntry{ACLMask, mask, ^uint32(0)})
	}
	sort.SliceStable(out, func(a, b int) bool {
		if out[a].Tag != out[b].Tag {
			return out[a].Tag < out[b].Tag
		}
		return out[a].ID < out[b].ID
	})
	return out
}

const aclAttr = "system.posix_acl_access"

// readACL returns a node's access list; without one, what its mode says.
func readACL(path string) ([]ACLEntry, error) {
	buf := make([]byte, 4096)
	n, err := unix.Lgetxattr(path, aclAttr, buf)
	if err == unix.ENODATA || err == unix.ENOTSUP {
		st, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		m := uint16(st.Mode().Perm())
		none := ^uint32(0)
		return []ACLEntry{{ACLOwner, m >> 6 & 7, none}, {ACLOwnerGroup, m >> 3 & 7, none}, {ACLOther, m & 7, none}}, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "getxattr", Path: path, Err: err}
	}
	return parseACL(buf[:n])
}

// parseACL reads an access list as the kernel keeps it: a version, then 8 bytes an entry.
func parseACL(b []byte) ([]ACLEntry, error) {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != 2 || len(b)%8 != 4 {
		return nil, errors.New("an access list of an unknown format")
	}
	var out []ACLEntry
	for b = b[4:]; len(b) > 0; b = b[8:] {
		le := binary.LittleEndian
		out = append(out, ACLEntry{ACLTag(le.Uint16(b)), le.Uint16(b[2:]), le.Uint32(b[4:])})
	}
	return out, nil
}

func setACL(path string, acl []ACLEntry) error {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 2)
	for _, e := range acl {
		b = le.AppendUint16(b, uint16(e.Tag))
		b = le.AppendUint16(b, e.Perm)
		b = le.AppendUint32(b, e.ID)
	}
	return unix.Lsetxattr(path, aclAttr, b, 0)
}
