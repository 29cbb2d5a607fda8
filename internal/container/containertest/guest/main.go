//go:build linux

// Command guest is the program that the suite of internal/container runs in
// containers: one word, one behaviour. It is static and needs no other file.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

var verbs = map[string]func(args []string){
	"exit":    func(a []string) { os.Exit(number(a[0])) },
	"say":     func(a []string) { fmt.Println(strings.Join(a, " ")) },
	"both":    both,
	"emit":    func(a []string) { emit(os.Stdout, number(a[0])) },
	"cat":     func([]string) { check(io.Copy(os.Stdout, os.Stdin)) },
	"env":     func([]string) { env := os.Environ(); slices.Sort(env); fmt.Println(strings.Join(env, "\n")) },
	"where":   where,
	"status":  func([]string) { print("/proc/self/status") },
	"read":    func(a []string) { print(a[0]) },
	"write":   func(a []string) { fail(os.WriteFile(a[0], []byte(a[1]), 0o644)) },
	"fill":    fill,
	"eat":     func(a []string) { eat(number(a[0])) },
	"nurse":   nurse,
	"spin":    spin,
	"forks":   forks,
	"bomb":    bomb,
	"await":   await,
	"sleep":   func([]string) { time.Sleep(time.Hour) },
	"polite":  polite,
	"segv":    segv,
	"daemons": daemons,
	"beat":    beat,
	"serve":   serve,
	"dial":    dial,
	"mute":    mute,
	"tty":     tty,
}

func main() {
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		fmt.Fprintf(os.Stderr, "guest: unknown %q\n", os.Args)
		os.Exit(64)
	}
	verbs[os.Args[1]](os.Args[2:])
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(65)
	}
}

func check[T any](v T, err error) T { fail(err); return v }

func number(s string) int { return check(strconv.Atoi(s)) }

func print(file string) { os.Stdout.Write(check(os.ReadFile(file))) }

// both writes n lines to each of stdout and stderr, in turns.
func both(a []string) {
	for i := range number(a[0]) {
		fmt.Fprintf(os.Stdout, "out %d\n", i)
		fmt.Fprintf(os.Stderr, "err %d\n", i)
	}
}

// emit writes n bytes that are a function of their position.
func emit(w io.Writer, n int) {
	buf := make([]byte, 256<<10)
	for at := 0; at < n; {
		b := buf[:min(len(buf), n-at)]
		for i := range b {
			b[i] = byte((at + i) % 251)
		}
		check(w.Write(b))
		at += len(b)
	}
}

func where([]string) {
	groups := check(os.Getgroups())
	slices.Sort(groups)
	host, _ := os.Hostname()
	fmt.Printf("dir=%s uid=%d gid=%d groups=%v host=%s\n", check(os.Getwd()), os.Getuid(), os.Getgid(), groups, host)
}

// fill writes to a file until it is killed.
func fill(a []string) {
	f := check(os.Create(a[0]))
	for {
		check(f.Write(make([]byte, 1<<20)))
		time.Sleep(10 * time.Millisecond)
	}
}

// eat takes and touches n MiB.
func eat(n int) {
	mem := check(syscall.Mmap(-1, 0, n<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE))
	for i := 0; i < len(mem); i += 4096 {
		mem[i] = 1
	}
	fmt.Println("ate", n)
}

// nurse outlives a child that eats too much.
func nurse(a []string) {
	fmt.Println(exec.Command("/proc/self/exe", "eat", a[0]).Run())
	os.Exit(7)
}

// spin uses n milliseconds of processor time on two threads and tells how many it took.
func spin(a []string) {
	began := time.Now()
	used := func() int64 {
		var u syscall.Rusage
		fail(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return (u.Utime.Nano() + u.Stime.Nano()) / 1e6
	}
	n := int64(number(a[0]))
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for used() < n {
			}
		})
	}
	wg.Wait()
	fmt.Println("took", time.Since(began).Milliseconds())
}

// bomb has every process that it makes make others, for ever; each writes to a file as long as it lives. With a second
// argument the first process is not one of them: it ends with code 6 when so many bytes are written.
func bomb(a []string) {
	fd := check(syscall.Open(a[0], syscall.O_CREAT|syscall.O_APPEND|syscall.O_WRONLY, 0o644))
	if len(a) > 1 {
		cmd := exec.Command("/proc/self/exe", "bomb", a[0])
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		fail(cmd.Start())
		for {
			var st syscall.Stat_t
			if fail(syscall.Fstat(fd, &st)); st.Size >= int64(number(a[1])) {
				os.Exit(6)
			}
			time.Sleep(time.Millisecond)
		}
	}
	x, pause := byte('x'), syscall.Timespec{Nsec: 1e6}
	for {
		// In a child the rest of this program does not run: no call but the kernel's own.
		syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&x)), 1)
		syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
	}
}

// await waits for a file and says what is in it.
func await(a []string) {
	for range 1000 {
		if b, err := os.ReadFile(a[0]); err == nil {
			os.Stdout.Write(b)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	os.Exit(66)
}

// forks makes children that wait for ever until the kernel refuses.
func forks(a []string) {
	made := 0
	for made < number(a[0]) {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			fmt.Printf("refused after %d: %v\n", made, errno)
			os.Exit(3)
		}
		for pid == 0 {
			var forever syscall.Timespec
			forever.Sec = 3600
			syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&forever)), 0, 0)
		}
		made++
	}
	fmt.Println("made", made)
}

// polite ends with code 5 when asked to.
func polite([]string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ready")
	<-c
	os.Exit(5)
}

// segv dies of a real SIGSEGV, which the kernel delivers even to pid 1.
func segv([]string) {
	var dfl [4]uintptr // SIG_DFL, no flags, no restorer, empty mask
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV), uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
	page := check(syscall.Mmap(-1, 0, 4096, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE))
	page[0] = 1
}

// daemons starts processes that leave their session and their parent, hold the
// output open and write to a file, then ends once they do.
func daemons(a []string) {
	cmd := exec.Command("/proc/self/exe", "beat", a[0], "again")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	fail(cmd.Run())
	for {
		if b, _ := os.ReadFile(a[0]); len(b) > 2 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func beat(a []string) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	if len(a) > 1 {
		cmd := exec.Command("/proc/self/exe", "beat", a[0])
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		fail(cmd.Start())
		return
	}
	f := check(os.OpenFile(a[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644))
	for {
		check(f.WriteString("x"))
		time.Sleep(5 * time.Millisecond)
	}
}

func serve(a []string) {
	fail(http.ListenAndServe(":"+a[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "hello from the guest")
	})))
}

func dial(a []string) {
	conn, err := net.DialTimeout("tcp", a[0], time.Second)
	fail(err)
	conn.Close()
}

// mute closes its output and works on.
func mute(a []string) {
	os.Stdout.Close()
	os.Stderr.Close()
	time.Sleep(time.Duration(number(a[0])) * time.Millisecond)
	os.Exit(4)
}

// tty waits for its terminal to have the wanted number of columns.
func tty(a []string) {
	for range 500 {
		var ws struct{ Row, Col, X, Y uint16 }
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 1, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&ws)))
		if errno != 0 {
			fail(errno)
		}
		if int(ws.Col) == number(a[0]) {
			fmt.Printf("columns %d\n", ws.Col)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	os.Exit(66)
}
