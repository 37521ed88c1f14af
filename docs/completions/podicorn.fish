# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_podicorn_global_optspecs
    string join \n c/config= chdir= pythonpath= e/env= preload python= check-config print-config b/bind= backlog= reuse-port w/workers= scale-down-delay= k/worker-class= threads= worker-connections= max-requests= max-requests-jitter= worker-max-memory= worker-max-memory-hard= max-unavailable= asgi-loop= asgi-lifespan= asgi-disconnect-grace-period= asgi-eager websocket-max-message-size= ws-ping-interval= ws-ping-timeout= no-ws-per-message-deflate t/timeout= graceful-timeout= keep-alive= boot-timeout= head-timeout= request-timeout= stall-timeout= drain-delay= access-logfile= access-logformat= error-logfile= log-level= log-format= capture-output logger-class= log-config= log-config-json= log-syslog log-syslog-to= log-syslog-prefix= log-syslog-facility= disable-redirect-access-to-syslog R/enable-stdio-inheritance statsd-host= statsd-prefix= dogstatsd-tags= enable-backlog-metric slow-request= admin-bind= admin-token-file= app-metrics control-socket= control-socket-mode= no-control-socket limit-request-line= limit-request-fields= limit-request-field_size= limit-request-body= body-buffer= body-budget= min-body-rate= no-sendfile permit-obsolete-folding strip-header-spaces permit-unconventional-http-method permit-unconventional-http-version casefold-http-method root-path= http-parser= forwarded-allow-ips= forwarder-headers= header-map= proxy-protocol= proxy-allow-from= u/user= g/group= initgroups m/umask= p/pid= n/name= worker-tmp-dir= D/daemon keyfile= certfile= ca-certs= cert-reqs= ciphers= ssl-version= suppress-ragged-eofs do-handshake-on-connect http-protocols= http2-cleartext= http2-max-concurrent-streams= http2-initial-window-size= http2-max-frame-size= http2-max-header-list-size= reload reload-engine= reload-extra-file= spew dirty-app= dirty-workers= dirty-timeout= dirty-threads= dirty-graceful-timeout= paste= paste-global= protocol= uwsgi-allow-from= h/help v/version
end

function __fish_podicorn_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_podicorn_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_podicorn_using_subcommand
    set -l cmd (__fish_podicorn_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c podicorn -n "__fish_podicorn_needs_command" -s c -l config -d 'Config file: PATH, file:PATH or python:MODULE. [config: ./gunicorn.conf.py]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l chdir -d 'Change to this directory before loading the app. [chdir: the working directory]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l pythonpath -d 'Directories to put in front of sys.path, comma-separated. [pythonpath]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s e -l env -d 'Set an environment variable for the app: KEY=VALUE. Repeatable. [raw_env]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l python -d 'The Python interpreter to run the app with. [python]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s b -l bind -d 'Listen here: HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH or fd://FD. Repeatable. [bind: 127.0.0.1:8000, or 0.0.0.0:$PORT]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l backlog -d 'Connections that may wait in the kernel to be accepted. [backlog: 2048]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s w -l workers -d 'Worker processes: a number, MIN..MAX to follow the load within that range, or auto. [workers: 1, or $WEB_CONCURRENCY]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l scale-down-delay -d 'Take a worker of a range away only when fewer have been enough for this long. [scale_down_delay: 60 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s k -l worker-class -d 'Type of worker: sync, gthread, gevent, eventlet, asgi, tornado, or a class made for Gunicorn. [worker_class: sync]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l threads -d 'Threads that call the app in each gthread worker; more than 1 turns sync into gthread. [threads: 1]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l worker-connections -d 'Connections that one worker holds open at a time. [worker_connections: 1000]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l max-requests -d 'Replace a worker after this many requests; 0: never. [max_requests: 0]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l max-requests-jitter -d 'Add a random number up to this to max_requests, per worker. [max_requests_jitter: 0]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l worker-max-memory -d 'Replace a worker that holds more memory than this; 0: never. [worker_max_memory: 0 KiB]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l worker-max-memory-hard -d 'Stop a worker that holds more memory than this at once; 0: never. [worker_max_memory_hard: 0 KiB]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l max-unavailable -d 'Workers that may be missing while others replace them; 0: one more runs meanwhile. [max_unavailable: 0]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l asgi-loop -d 'Event loop of the asgi worker. [asgi_loop: auto]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l asgi-lifespan -d 'Whether the asgi worker runs the app\'s lifespan (startup and shutdown). [asgi_lifespan: auto]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l asgi-disconnect-grace-period -d 'Time that an ASGI app has left for a request whose client has gone. [asgi_disconnect_grace_period: 3 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l websocket-max-message-size -d 'Largest WebSocket message. [websocket_max_message_size: 16777216 bytes]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l ws-ping-interval -d 'Time between the server\'s Pings to a WebSocket client; 0: none. [ws_ping_interval: 20 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l ws-ping-timeout -d 'Time that a WebSocket client has to answer a Ping; 0: no limit. [ws_ping_timeout: 20 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s t -l timeout -d 'Kill a worker that is silent for longer; for sync workers, the longest request. 0: never. [timeout: 30 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l graceful-timeout -d 'From TERM or reload until requests that still run are cut off. [graceful_timeout: 30 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l keep-alive -d 'Close a connection that is idle for longer. [keepalive: 2 s; in a pod 75 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l boot-timeout -d 'Kill a worker that is not ready after this long, with its stacks in the log; 0: never. [boot_timeout: 120 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l head-timeout -d 'Answer 408 to a client that has not sent its whole request head by then; 0: no limit. [head_timeout: 10 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l request-timeout -d 'Answer 504 to a request that the app has not begun to answer by then; 0: no limit. [request_timeout: 0 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l stall-timeout -d 'Give up a client that in such a period sends or takes less than min_body_rate. [stall_timeout: 30 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l drain-delay -d 'On TERM go on accepting this long while /readyz is 503, so that load balancers notice. [drain_delay: 0 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l access-logfile -d 'Access log: a file, or - for stdout. [accesslog]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l access-logformat -d 'Format of an access log line, in Gunicorn\'s atoms; the default is Apache\'s combined format. [access_log_format]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l error-logfile -d 'Error log: a file, or - for stderr. Also --log-file. [errorlog: -]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l log-level -d 'Least level of the error log: debug, info, warning, error or critical. [loglevel: info]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l log-format -d 'Write both logs as text or as one JSON object per line. [log_format: text]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l logger-class -d 'Python class of the logger: a subclass of gunicorn.glogging.Logger, as package.module.Class, or the class itself in the config file. [logger_class: gunicorn.glogging.Logger]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l log-config -d 'Config file of Python\'s logging (INI). [logconfig]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l log-config-json -d 'Config file of Python\'s logging (JSON). [logconfig_json]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l log-syslog-to -d 'Address of syslog: udp://HOST:PORT, tcp://HOST:PORT, unix://PATH#dgram or unix://PATH#stream. [syslog_addr: udp://localhost:514]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l log-syslog-prefix -d 'Program name in syslog entries: gunicorn.PREFIX.error and gunicorn.PREFIX.access; the process name if not set. [syslog_prefix]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l log-syslog-facility -d 'Facility of syslog entries. [syslog_facility: user]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l statsd-host -d 'Address of a StatsD server. [statsd_host]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l statsd-prefix -d 'Prefix of StatsD metrics. [statsd_prefix]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l dogstatsd-tags -d 'Tags of StatsD metrics. [dogstatsd_tags]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l slow-request -d 'Log a request that has run for so long, with the stacks of its worker; 0 logs none. [slow_request: 0 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l admin-bind -d 'Serve probes, metrics and control here: HOST:PORT, [IPV6]:PORT, unix:PATH, or off. [admin_bind: off; in a pod [::]:9099]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l admin-token-file -d 'File with the bearer token for whatever changes or reveals state. [admin_token_file]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l control-socket -d 'Path of Gunicorn\'s control socket. [control_socket: none]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l control-socket-mode -d 'File mode of Gunicorn\'s control socket. [control_socket_mode: 0600]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l limit-request-line -d 'Longest request line; 0: no limit, more than 8190 means 8190. [limit_request_line: 4094 bytes]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l limit-request-fields -d 'Most header fields in a request; 0 or more than 32768 means 32768. [limit_request_fields: 100]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l limit-request-field_size -d 'Longest header field; 0 means 8190. [limit_request_field_size: 8190 bytes]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l limit-request-body -d 'Largest request body; suffixes k, m, g; 0: no limit. [limit_request_body: 0 KiB]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l body-buffer -d 'Bytes of a request body read before a worker is taken; suffixes k, m, g. [body_buffer: 1024 KiB]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l body-budget -d 'Bytes of unfinished requests that one worker holds; suffixes k, m, g. [body_budget: 32768 KiB]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l min-body-rate -d 'Slowest request body and slowest reader of a response, over a stall_timeout. [min_body_rate: 240]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l root-path -d 'Mount point of an ASGI app. [root_path]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l http-parser -d 'Gunicorn\'s HTTP parser. [http_parser: auto]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l forwarded-allow-ips -d 'Proxies whose scheme and forwarder headers are believed: addresses and networks, comma-separated; * for all. [forwarded_allow_ips: 127.0.0.1,::1, or $FORWARDED_ALLOW_IPS]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l forwarder-headers -d 'Headers that such a proxy may set although their names have underscores, comma-separated. [forwarder_headers: SCRIPT_NAME,PATH_INFO]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l header-map -d 'Headers with underscores in their names: drop them, refuse the request, or pass them (dangerous). [header_map: drop]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l proxy-protocol -d 'Take the client\'s address from the PROXY protocol: off, v1, v2 or auto (both). [proxy_protocol: off]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l proxy-allow-from -d 'Who may speak the PROXY protocol: addresses and networks, comma-separated; * for all. [proxy_allow_ips: 127.0.0.1,::1]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s u -l user -d 'Run the workers as this user: a name or number. [user: the server\'s own]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s g -l group -d 'Run the workers as this group: a name or number. [group: the server\'s own]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s m -l umask -d 'File mode bits that the unix sockets of bind lack; 022 is octal. [umask: 0]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s p -l pid -d 'Write the server\'s process id to this file. [pidfile]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -s n -l name -d 'Name of the processes in ps and top. [proc_name]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l worker-tmp-dir -d 'Directory of Gunicorn\'s heartbeat files. [worker_tmp_dir]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l keyfile -d 'Private key, as PEM; not set: it is in certfile. [keyfile]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l certfile -d 'Certificate and those of its issuers, as PEM: the server speaks HTTPS. [certfile]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l ca-certs -d 'Certificates of those who issue certificates for clients, as PEM. [ca_certs]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l cert-reqs -d 'Whether clients need a certificate: 0 no, 1 if they have one it must be valid, 2 yes. [cert_reqs: 0]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l ciphers -d 'Cipher suites of TLS 1.2, as OpenSSL\'s cipher string. [ciphers]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l ssl-version -d 'Protocol version; Gunicorn ignores it, too. [ssl_version: 2]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l http-protocols -d 'What is spoken: h1, h2, or both, the preferred one first. [http_protocols: h1]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l http2-cleartext -d 'HTTP/2 without TLS, from proxies in forwarded_allow_ips. [http2_cleartext: off]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l http2-max-concurrent-streams -d 'Requests that a connection may have at a time. [http2_max_concurrent_streams: 100]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l http2-initial-window-size -d 'Bytes of a request body that a client may send ahead. [http2_initial_window_size: 65535 bytes]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l http2-max-frame-size -d 'Largest frame that a client may send. [http2_max_frame_size: 16384 bytes]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l http2-max-header-list-size -d 'Bytes of all header fields of a request; 0: no limit. [http2_max_header_list_size: 65536 bytes]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l reload-engine -d 'How changes are noticed. [reload_engine: auto]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l reload-extra-file -d 'Another file to watch, or a pattern such as templates/**/*.html. Repeatable. [reload_extra_files]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l dirty-app -d 'Apps of dirty arbiters. [dirty_apps]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l dirty-workers -d 'Workers of dirty arbiters. [dirty_workers: 0]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l dirty-timeout -d 'Timeout of dirty workers. [dirty_timeout: 300 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l dirty-threads -d 'Threads of dirty workers. [dirty_threads: 1]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l dirty-graceful-timeout -d 'Graceful timeout of dirty workers. [dirty_graceful_timeout: 30 s]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l paste -d 'PasteDeploy config file. [paste]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l paste-global -d 'Global variables of PasteDeploy. [raw_paste_global_conf]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l protocol -d 'Wire protocol. [protocol: http]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l uwsgi-allow-from -d 'Who may speak the uwsgi protocol. [uwsgi_allow_ips: 127.0.0.1,::1]' -r
complete -c podicorn -n "__fish_podicorn_needs_command" -l preload -d 'Import the app once, before the workers are forked: they start faster and share memory. [preload_app]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l check-config -d 'Check the settings and load the app, then exit: 0 if all is well, 1 if not. [check_config]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l print-config -d 'Print every setting as resolved, check as --check-config does, and exit. [print_config]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l reuse-port -d 'Set SO_REUSEPORT, so that another server can listen on the same port. [reuse_port]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l asgi-eager -d 'Run the first step of each request\'s task at once (CPython 3.12 or newer). [asgi_eager]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l no-ws-per-message-deflate -d 'Do not compress WebSocket messages. [ws_per_message_deflate: on]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l capture-output -d 'Send the app\'s stdout and stderr to the error log\'s file; with `log_format` json, write what is printed as records, wherever the log goes. [capture_output]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l log-syslog -d 'Send the logs to syslog, too. [syslog]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l disable-redirect-access-to-syslog -d 'Keep the access log out of syslog. [disable_redirect_access_to_syslog]'
complete -c podicorn -n "__fish_podicorn_needs_command" -s R -l enable-stdio-inheritance -d 'Keep stdin, stdout and stderr when daemonised. [enable_stdio_inheritance]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l enable-backlog-metric -d 'Send the length of the accept queue to StatsD. [enable_backlog_metric]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l app-metrics -d 'Show what the app counts with prometheus_client in /metrics. [app_metrics]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l no-control-socket -d 'Open no control socket of Gunicorn\'s. [control_socket_disable]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l no-sendfile -d 'Do not use sendfile() for wsgi.file_wrapper. [sendfile]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l permit-obsolete-folding -d 'Accept header fields folded over several lines. [permit_obsolete_folding]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l strip-header-spaces -d 'Accept spaces between a header\'s name and its colon. [strip_header_spaces]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l permit-unconventional-http-method -d 'Accept methods in lower case, with #, or shorter than 3 or longer than 20 letters. [permit_unconventional_http_method]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l permit-unconventional-http-version -d 'Accept HTTP versions 1.x other than 1.0 and 1.1. [permit_unconventional_http_version]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l casefold-http-method -d 'Turn methods into upper case. [casefold_http_method]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l initgroups -d 'Give the workers all groups of their user. [initgroups]'
complete -c podicorn -n "__fish_podicorn_needs_command" -s D -l daemon -d 'Go into the background. [daemon]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l suppress-ragged-eofs -d 'An end without close_notify counts as an end. [suppress_ragged_eofs: on]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l do-handshake-on-connect -d 'Do the handshake while accepting; for third-party classes. [do_handshake_on_connect]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l reload -d 'Load new code when files of the app change; for development only. [reload]'
complete -c podicorn -n "__fish_podicorn_needs_command" -l spew -d 'Print every line that workers execute, on stdout; very slow. [spew]'
complete -c podicorn -n "__fish_podicorn_needs_command" -s h -l help -d 'Print this help and exit.'
complete -c podicorn -n "__fish_podicorn_needs_command" -s v -l version -d 'Print the version and exit.'
complete -c podicorn -n "__fish_podicorn_needs_command" -a "ctl" -d 'Look at and steer a running server by its admin API.'
complete -c podicorn -n "__fish_podicorn_needs_command" -a "migrate" -d 'Say what becomes of each setting and hook of a Gunicorn config file.'
complete -c podicorn -n "__fish_podicorn_needs_command" -a "simulate" -d 'Compare scaling policies in virtual time.'
