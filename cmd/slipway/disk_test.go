package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// smallDisk mounts a disk of size bytes in memory, which the engine sees as we do, and is ours to write.
func (y *yard) smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := filepath.Join(openDir(t), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	o := fmt.Sprintf("size=%d,mode=0755,uid=%d,gid=%d", size, os.Geteuid(), os.Getegid())
	if err := y.asRoot("mount", "-t", "tmpfs", "-o", o, "tmpfs", dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := y.asRoot("umount", dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// asRoot runs a command of this machine as its root, where we are too: whoever may talk to the engine may do that, by
// way of a container that enters our mount namespace.
func (y *yard) asRoot(argv ...string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer c.Close()
	enter := []string{"nsenter", "-t", strconv.Itoa(os.Getpid()), "-m", "--", "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	made, err := c.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config: &api.Config{Image: y.builder, User: "0", Entrypoint: []string{"/bin/busybox"}, Cmd: append(enter, argv...), Tty: true},
		HostConfig: &api.HostConfig{
			PidMode: "host", UsernsMode: "host", NetworkMode: "none",
			// What it takes. Privileged would be every capability, which a machine inside a machine may not have to give.
			CapAdd: []string{"SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"}, SecurityOpt: []string{"apparmor=unconfined", "seccomp=unconfined"},
		},
	})
	if err != nil {
		return err
	}
	defer func() {
		_, e := c.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true})
		err = errors.Join(err, e)
	}()
	ended := c.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: api.WaitConditionNextExit})
	if _, err := c.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return err
	}
	select {
	case err := <-ended.Error:
		return err
	case end := <-ended.Result:
		if end.StatusCode == 0 {
			return nil
		}
		text := ""
		if log, err := c.ContainerLogs(ctx, made.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true}); err == nil {
			b, _ := io.ReadAll(log)
			log.Close()
			text = string(b)
		}
		return fmt.Errorf("%s as root: exit code %d: %s", strings.Join(argv, " "), end.StatusCode, text)
	}
}
