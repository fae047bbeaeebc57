package registries

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/dockerarchive/dockerarchive/errdef"
)

const (
	// maxTagPages is how many pages a list of tags may have.
	maxTagPages = 1000
	// maxTagPage is how long one may be, in bytes.
	maxTagPage = 16 << 20
)

// Tags returns the tags of a repository, each once and in the order of the registry. No
// mirror is asked. More than most, or far too many pages, are an errdef.ErrLimit; so is
// a page that leads to one that has been read.
func (c *Client) Tags(ctx context.Context, repo reference.Named, most int) ([]string, error) {
	r, err := c.itself(ctx, repo)
	if err != nil {
		return nil, err
	}
	ctx = auth.AppendRepositoryScope(ctx, r.remote.Reference, auth.ActionPull)
	page := &url.URL{Scheme: "https", Host: r.remote.Reference.Host(), Path: "/v2/" + r.remote.Reference.Repository + "/tags/list"}
	if r.remote.PlainHTTP {
		page.Scheme = "http"
	}
	var tags []string
	known, read := map[string]bool{}, map[string]bool{}
	for page != nil {
		switch {
		case read[page.String()]:
			return nil, fmt.Errorf("%w: page %d of the list is one that has been read: %q", errdef.ErrLimit, len(read)+1, page)
		case len(read) == maxTagPages:
			return nil, fmt.Errorf("%w: the list has more than %d pages", errdef.ErrLimit, maxTagPages)
		}
		read[page.String()] = true
		var listed []string
		if listed, page, err = tagPage(ctx, r.remote, page); err != nil {
			return nil, err
		}
		for _, tag := range listed {
			if !isTag(tag) || known[tag] {
				continue
			}
			if len(tags) == most {
				return nil, fmt.Errorf("%w: there are more than %d tags", errdef.ErrLimit, most)
			}
			known[tag] = true
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// isTag is false for other entries that some registries list among tags: null, and digests.
func isTag(tag string) bool {
	_, err := digest.Parse(tag)
	return tag != "" && err != nil
}

// tagPage returns the tags of a page and the address of the next one, nil if it is the last.
func tagPage(ctx context.Context, r *remote.Repository, page *url.URL) (tags []string, next *url.URL, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	response, err := r.Client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close() // It has been read.
	body := &io.LimitedReader{R: response.Body, N: maxTagPage}
	if response.StatusCode != http.StatusOK {
		return nil, nil, refusalOf(response)
	}
	var list struct{ Tags []string }
	if err := json.NewDecoder(body).Decode(&list); err != nil {
		if body.N <= 0 {
			return nil, nil, fmt.Errorf("%w: a page of the list has more than %d bytes", errdef.ErrLimit, maxTagPage)
		}
		return nil, nil, fmt.Errorf("reading a page of the list: %w", err)
	}
	link, _, _ := strings.Cut(response.Header.Get("Link"), ";")
	if link == "" {
		return list.Tags, nil, nil
	}
	if next, err = page.Parse(strings.Trim(strings.TrimSpace(link), "<>")); err != nil {
		return nil, nil, fmt.Errorf("the link to the next page of the list: %w", err)
	}
	// A registry behind a proxy may not know its own address, and no other host is asked.
	return list.Tags, &url.URL{Scheme: page.Scheme, Host: page.Host, Path: next.Path, RawPath: next.RawPath, RawQuery: next.RawQuery}, nil
}
