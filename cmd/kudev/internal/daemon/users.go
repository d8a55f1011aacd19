package daemon

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// userFiles looks up names in passwd(5) and group(5) files, read when they are first asked for, and again after they
// have changed. It does not ask a network: udev does not either, before the network is there.
type userFiles struct {
	users, groups idFile
}

func newUserFiles(passwd, group string) *userFiles {
	return &userFiles{users: idFile{name: passwd, kind: "user"}, groups: idFile{name: group, kind: "group"}}
}

func (u *userFiles) User(name string) (uint32, error)  { return u.users.lookup(name) }
func (u *userFiles) Group(name string) (uint32, error) { return u.groups.lookup(name) }

type idFile struct {
	name, kind string
	mu         sync.Mutex
	stat       os.FileInfo
	ids        map[string]uint32
}

func (f *idFile) lookup(name string) (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read(); err != nil && f.ids == nil && name != "root" {
		return 0, fmt.Errorf("%s %s: %w", f.kind, name, err)
	}
	if id, ok := f.ids[name]; ok {
		return id, nil
	}
	if name == "root" {
		return 0, nil
	}
	return 0, fmt.Errorf("%s %s: not in %s", f.kind, name, f.name)
}

// read reads the file unless it is as it was.
func (f *idFile) read() error {
	st, err := os.Stat(f.name)
	if err != nil {
		return err
	}
	if f.stat != nil && os.SameFile(f.stat, st) && f.stat.ModTime().Equal(st.ModTime()) && f.stat.Size() == st.Size() {
		return nil
	}
	file, err := os.Open(f.name)
	if err != nil {
		return err
	}
	defer file.Close()
	ids := make(map[string]uint32)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), ":", 4) // name:password:ID:…, of both
		if len(fields) < 3 {
			continue
		}
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil || fields[0] == "" {
			continue
		}
		if _, ok := ids[fields[0]]; !ok {
			ids[fields[0]] = uint32(id)
		}
	}
	f.ids, f.stat = ids, st
	return lines.Err()
}
