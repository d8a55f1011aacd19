package rules

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// FileUsers looks up names in files like /etc/passwd and /etc/group, read once. It may be used by any number of
// goroutines. Root is known without them.
type FileUsers struct {
	users, groups map[string]uint32
}

// ReadUsers reads the two files. One that is not there holds nobody.
func ReadUsers(passwd, group string) *FileUsers {
	return &FileUsers{users: readNames(passwd), groups: readNames(group)}
}

func readNames(file string) map[string]uint32 {
	names := map[string]uint32{"root": 0}
	f, err := os.Open(file)
	if err != nil {
		return names
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 3 {
			continue
		}
		if id, err := strconv.ParseUint(fields[2], 10, 32); err == nil && fields[0] != "" {
			if _, ok := names[fields[0]]; !ok {
				names[fields[0]] = uint32(id)
			}
		}
	}
	return names
}

// User returns a user's number.
func (u *FileUsers) User(name string) (uint32, error) { return find(u.users, "user", name) }

// Group returns a group's number.
func (u *FileUsers) Group(name string) (uint32, error) { return find(u.groups, "group", name) }

func find(names map[string]uint32, what, name string) (uint32, error) {
	if id, ok := names[name]; ok {
		return id, nil
	}
	return 0, fmt.Errorf("%s %q: %w", what, name, fs.ErrNotExist)
}
