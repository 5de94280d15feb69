package module

// WASI is the module name of WASI preview 1.
const WASI = "wasi_snapshot_preview1"

// signature returns the type of a function of WASI preview 1, parameters before results, i for i32 and
// I for i64, or "" if there is no such function.
func signature(name string) string {
	switch name {
	case "sched_yield":
		return ":i"
	case "proc_exit":
		return "i:"
	case "fd_close", "fd_datasync", "fd_sync", "proc_raise":
		return "i:i"
	case "args_get", "args_sizes_get", "clock_res_get", "environ_get", "environ_sizes_get",
		"fd_fdstat_get", "fd_fdstat_set_flags", "fd_filestat_get", "fd_prestat_get", "fd_renumber",
		"fd_tell", "random_get", "sock_shutdown":
		return "ii:i"
	case "fd_filestat_set_size":
		return "iI:i"
	case "clock_time_get":
		return "iIi:i"
	case "fd_allocate", "fd_fdstat_set_rights":
		return "iII:i"
	case "fd_prestat_dir_name", "path_create_directory", "path_remove_directory", "path_unlink_file",
		"sock_accept":
		return "iii:i"
	case "fd_seek":
		return "iIii:i"
	case "fd_advise", "fd_filestat_set_times":
		return "iIIi:i"
	case "fd_read", "fd_write", "poll_oneoff":
		return "iiii:i"
	case "fd_pread", "fd_pwrite", "fd_readdir":
		return "iiiIi:i"
	case "path_filestat_get", "path_symlink", "sock_send":
		return "iiiii:i"
	case "path_readlink", "path_rename", "sock_recv":
		return "iiiiii:i"
	case "path_filestat_set_times":
		return "iiiiIIi:i"
	case "path_link":
		return "iiiiiii:i"
	case "path_open":
		return "iiiiiIIii:i"
	}
	return ""
}
