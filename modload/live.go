package modload

import (
	"os"
	"strconv"
	"strings"
)

// A LiveModule is a module in the kernel.
type LiveModule struct {
	Name    string
	State   ModuleState
	Size    int64 // bytes
	Users   int   // how often it is in use; negative when the kernel cannot unload modules
	Holders []string
}

// Live lists the modules in the kernel, the youngest first, as lsmod does. It reads /proc/modules and /sys/module; a module that goes away
// meanwhile is listed with what /proc/modules said.
func Live(cfg *Config) ([]LiveModule, error) {
	data, err := readFile(cfg.Path("/proc/modules"))
	if err != nil {
		return nil, err
	}
	var live []LiveModule
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		m := LiveModule{Name: fields[0]}
		m.Size, _ = strconv.ParseInt(fields[1], 10, 64)
		if len(fields) > 4 {
			switch m.State = strings.ToLower(fields[4]); m.State { // "Live", "Loading" or "Unloading"
			case "loading":
				m.State = ModuleComing
			case "unloading":
				m.State = ModuleGoing
			}
		}
		m.readSys(cfg)
		live = append(live, m)
	}
	return live, nil
}

func (m *LiveModule) readSys(cfg *Config) {
	dir := cfg.Path("/sys/module/" + m.Name)
	number := func(file string) (int64, error) {
		b, err := readFile(dir + "/" + file)
		if err != nil {
			return 0, err
		}
		return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	}
	if n, err := number("coresize"); err == nil {
		m.Size = n
	}
	m.Users = -2 // what lsmod has always printed for "cannot be told"
	if n, err := number("refcnt"); err == nil {
		m.Users = int(n)
	}
	holders, err := os.Open(dir + "/holders")
	if err != nil {
		return
	}
	defer holders.Close()
	m.Holders, _ = holders.Readdirnames(-1) // in the directory's own order
}
