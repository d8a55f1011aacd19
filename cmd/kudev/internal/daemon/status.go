package daemon

import "sync/atomic"

// Counters count what neither the queue nor the listener counts, since the daemon's start.
type Counters struct {
	Lost          atomic.Uint64 // dropped by the kernel because the socket was full
	Recovered     atomic.Uint64 // found by walking /sys after a loss or a restart
	ModulesLoaded atomic.Uint64
	FailedLater   atomic.Uint64 // handled events whose loads were put off, and failed then
}

// Status is what `kudev status --json` prints. Each received event becomes a handled one, of which some have failed;
// refused messages and lost events were never received; recovered ones count as received.
type Status struct {
	Pid           int      `json:"pid"`
	Version       string   `json:"version,omitempty"`
	UptimeUS      Micros   `json:"uptime_us"`
	ReadyUS       Micros   `json:"ready_us"` // from the start to readiness
	Received      uint64   `json:"received"`
	Handled       uint64   `json:"handled"`
	Failed        uint64   `json:"failed"`
	Refused       uint64   `json:"refused"`
	Lost          uint64   `json:"lost"`
	Recovered     uint64   `json:"recovered"`
	Queued        int      `json:"queued"`
	Loading       int      `json:"loading"` // loads of modules in flight
	ModulesLoaded uint64   `json:"modules_loaded"`
	Stopped       bool     `json:"stopped"` // udevadm control --stop-exec-queue
	Tree          string   `json:"tree"`
	Release       string   `json:"release"`
	Rules         string   `json:"rules"`                // "embedded", or the directories
	RulesDirs     []string `json:"rules_dirs,omitempty"` // of --rules-dir, absolute: all the rules there are
	RuleCount     int      `json:"rule_count"`
	Reloads       uint64   `json:"reloads"`
	ReloadError   string   `json:"reload_error,omitempty"` // why the last reload was refused
	Registered    bool     `json:"registered"`             // for the kernel's own requests
	Problems      []string `json:"problems,omitempty"`
	Waiting       []string `json:"waiting,omitempty"` // witnesses of unfinished kernel work, while someone waits
	Journal       uint64   `json:"journal"`           // entries so far
	RSSBytes      int64    `json:"rss_bytes"`
}
