//go:build system

package modload

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkModprobeAgainstKmod runs modprobe -R as a process, kmod's and ours in turn, on Debian's tree. of-kmod is how much of kmod's time
// ours takes, on the clock, and of-kmods-cpu on the processor; both are medians over the rounds: -benchtime 500x makes 500.
func BenchmarkModprobeAgainstKmod(b *testing.B) {
	debian := debianTree(b)
	cache, _, _ := strings.Cut(debian, "/linux/lib/modules/")
	release := filepath.Base(debian)
	ours := filepath.Join(b.TempDir(), "kudev")
	if out, err := exec.Command("make", "-s", "-C", "..", "build", "PROGRAM="+ours).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	env := append(os.Environ(), "LD_LIBRARY_PATH="+cache+"/libkmod2/lib/x86_64-linux-gnu:"+cache+"/libkmod2/usr/lib/x86_64-linux-gnu")
	args := []string{"-d", strings.TrimSuffix(debian, "/lib/modules/"+release), "-S", release, "-R", "pci:v00008086d00001533sv00008086sd00000001bc02sc00i00"}
	run := func(program string) (answer string, wall, cpu float64) {
		p := &exec.Cmd{Path: program, Args: append([]string{"modprobe"}, args...), Env: env}
		begin := time.Now()
		out, err := p.Output()
		if err != nil {
			b.Fatalf("%s: %v", program, err)
		}
		u := p.ProcessState.SysUsage().(*syscall.Rusage)
		return string(out), float64(time.Since(begin)), float64(u.Utime.Nano() + u.Stime.Nano())
	}
	theirs := cache + "/kmod/bin/kmod"
	var walls, cpus []float64
	for b.Loop() {
		want, wall, cpu := run(theirs)
		got, ourWall, ourCPU := run(ours)
		if got != want || want == "" {
			b.Fatalf("modprobe -R says %q, kmod's %q", got, want)
		}
		walls, cpus = append(walls, ourWall/wall), append(cpus, ourCPU/cpu)
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	b.ReportMetric(walls[len(walls)/2], "of-kmod")
	b.ReportMetric(cpus[len(cpus)/2], "of-kmods-cpu")
}
