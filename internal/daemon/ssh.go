package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"sync"
	"time"
)

// sshArgs returns the arguments of ssh that connect its input and output to a daemon: on
// ssh://[USER@]HOST[:PORT], where the docker command is run as it is by that of this machine.
func sshArgs(host string) ([]string, error) {
	u, err := url.Parse(host)
	if err != nil {
		return nil, err
	}
	_, password := u.User.Password()
	switch {
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return nil, errors.New("it is not of the form ssh://[USER@]HOST[:PORT]")
	case password:
		return nil, errors.New("ssh takes no password from there")
	}
	args := []string{"-o", "ConnectTimeout=30", "-T"}
	if u.User != nil {
		args = append(args, "-l", u.User.Username())
	}
	if u.Port() != "" {
		args = append(args, "-p", u.Port())
	}
	return append(args, "--", u.Hostname(), "docker", "system", "dial-stdio"), nil
}

// dialSSH runs ssh.
func dialSSH(args []string) (net.Conn, error) {
	c := &sshConn{cmd: exec.Command("ssh", args...)}
	c.cmd.Stderr = &c.said
	// Neither is closed by Wait, so that what has been answered can be read to its end.
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = in, out
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, nil
}

// sshConn is a connection over the input and output of a command.
type sshConn struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  io.ReadCloser
	said lastWords
	end  sync.Once
}

// Read reads what the other side has written. If there is nothing more, it says why.
func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if n == 0 && err != nil {
		_ = c.Close()
		if said := c.said.String(); said != "" {
			return 0, fmt.Errorf("ssh: %s", said)
		}
	}
	return n, err
}

// Write writes to the other side.
func (c *sshConn) Write(p []byte) (int, error) { return c.in.Write(p) }

// Close ends the command.
func (c *sshConn) Close() error {
	c.end.Do(func() {
		_ = c.in.Close()         // It is ended anyhow.
		_ = c.cmd.Process.Kill() // It may have ended.
		_ = c.cmd.Wait()         // Its status is that it was killed.
	})
	return nil
}

// LocalAddr is no address.
func (c *sshConn) LocalAddr() net.Addr { return sshAddr{} }

// RemoteAddr is no address.
func (c *sshConn) RemoteAddr() net.Addr { return sshAddr{} }

// SetDeadline does nothing: requests end with their contexts.
func (c *sshConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *sshConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *sshConn) SetWriteDeadline(time.Time) error { return nil }

type sshAddr struct{}

// Network is that of a command.
func (sshAddr) Network() string { return "ssh" }

// String is the name of the network.
func (sshAddr) String() string { return "ssh" }

// lastWords keeps the beginning of what a command says on its standard error.
type lastWords struct {
	mu   sync.Mutex
	data []byte
}

// Write keeps what there is room for.
func (w *lastWords) Write(p []byte) (int, error) {
	const enough = 4 << 10
	w.mu.Lock()
	defer w.mu.Unlock()
	w.data = append(w.data, p[:min(len(p), enough-len(w.data))]...)
	return len(p), nil
}

// String returns it.
func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(bytes.TrimSpace(w.data))
}

// overSSH returns what connects to a daemon by ssh.
func overSSH(host string) (func(context.Context, string, string) (net.Conn, error), error) {
	args, err := sshArgs(host)
	if err != nil {
		return nil, err
	}
	return func(context.Context, string, string) (net.Conn, error) { return dialSSH(args) }, nil
}
