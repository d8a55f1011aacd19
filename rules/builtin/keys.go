package builtin

import (
	"strconv"
	"strings"
)

// keyNames are the names of keys and buttons and their codes, "name code" between newlines. Kernel:
// include/uapi/linux/input-event-codes.h; KEY_ is left out of the names.
const keyNames = "" +
	"\nreserved 0\nesc 1\n1 2\n2 3\n3 4\n4 5\n5 6\n6 7\n7 8\n8 9\n9 10\n0 11\nminus 12\nequal 13\nbackspace 14\n" +
	"tab 15\nq 16\nw 17\ne 18\nr 19\nt 20\ny 21\nu 22\ni 23\no 24\np 25\nleftbrace 26\nrightbrace 27\nenter 28\n" +
	"leftctrl 29\na 30\ns 31\nd 32\nf 33\ng 34\nh 35\nj 36\nk 37\nl 38\nsemicolon 39\napostrophe 40\ngrave 41\n" +
	"leftshift 42\nbackslash 43\nz 44\nx 45\nc 46\nv 47\nb 48\nn 49\nm 50\ncomma 51\ndot 52\nslash 53\n" +
	"rightshift 54\nkpasterisk 55\nleftalt 56\nspace 57\ncapslock 58\nf1 59\nf2 60\nf3 61\nf4 62\nf5 63\nf6 64\n" +
	"f7 65\nf8 66\nf9 67\nf10 68\nnumlock 69\nscrolllock 70\nkp7 71\nkp8 72\nkp9 73\nkpminus 74\nkp4 75\nkp5 76\n" +
	"kp6 77\nkpplus 78\nkp1 79\nkp2 80\nkp3 81\nkp0 82\nkpdot 83\nzenkakuhankaku 85\n102nd 86\nf11 87\nf12 88\n" +
	"ro 89\nkatakana 90\nhiragana 91\nhenkan 92\nkatakanahiragana 93\nmuhenkan 94\nkpjpcomma 95\nkpenter 96\n" +
	"rightctrl 97\nkpslash 98\nsysrq 99\nrightalt 100\nlinefeed 101\nhome 102\nup 103\npageup 104\nleft 105\n" +
	"right 106\nend 107\ndown 108\npagedown 109\ninsert 110\ndelete 111\nmacro 112\nmute 113\nvolumedown 114\n" +
	"volumeup 115\npower 116\nkpequal 117\nkpplusminus 118\npause 119\nscale 120\nkpcomma 121\nhangeul 122\n" +
	"hanguel 122\nhanja 123\nyen 124\nleftmeta 125\nrightmeta 126\ncompose 127\nstop 128\nagain 129\nprops 130\n" +
	"undo 131\nfront 132\ncopy 133\nopen 134\npaste 135\nfind 136\ncut 137\nhelp 138\nmenu 139\ncalc 140\n" +
	"setup 141\nsleep 142\nwakeup 143\nfile 144\nsendfile 145\ndeletefile 146\nxfer 147\nprog1 148\nprog2 149\n" +
	"www 150\nmsdos 151\ncoffee 152\nscreenlock 152\nrotate_display 153\ndirection 153\ncyclewindows 154\n" +
	"mail 155\nbookmarks 156\ncomputer 157\nback 158\nforward 159\nclosecd 160\nejectcd 161\nejectclosecd 162\n" +
	"nextsong 163\nplaypause 164\nprevioussong 165\nstopcd 166\nrecord 167\nrewind 168\nphone 169\niso 170\n" +
	"config 171\nhomepage 172\nrefresh 173\nexit 174\nmove 175\nedit 176\nscrollup 177\nscrolldown 178\n" +
	"kpleftparen 179\nkprightparen 180\nnew 181\nredo 182\nf13 183\nf14 184\nf15 185\nf16 186\nf17 187\nf18 188\n" +
	"f19 189\nf20 190\nf21 191\nf22 192\nf23 193\nf24 194\nplaycd 200\npausecd 201\nprog3 202\nprog4 203\n" +
	"all_applications 204\ndashboard 204\nsuspend 205\nclose 206\nplay 207\nfastforward 208\nbassboost 209\n" +
	"print 210\nhp 211\ncamera 212\nsound 213\nquestion 214\nemail 215\nchat 216\nsearch 217\nconnect 218\n" +
	"finance 219\nsport 220\nshop 221\nalterase 222\ncancel 223\nbrightnessdown 224\nbrightnessup 225\nmedia 226\n" +
	"switchvideomode 227\nkbdillumtoggle 228\nkbdillumdown 229\nkbdillumup 230\nsend 231\nreply 232\n" +
	"forwardmail 233\nsave 234\ndocuments 235\nbattery 236\nbluetooth 237\nwlan 238\nuwb 239\nunknown 240\n" +
	"video_next 241\nvideo_prev 242\nbrightness_cycle 243\nbrightness_auto 244\nbrightness_zero 244\n" +
	"display_off 245\nwwan 246\nwimax 246\nrfkill 247\nmicmute 248\nbtn_0 256\nbtn_1 257\nbtn_2 258\nbtn_3 259\n" +
	"btn_4 260\nbtn_5 261\nbtn_6 262\nbtn_7 263\nbtn_8 264\nbtn_9 265\nbtn_left 272\nbtn_right 273\n" +
	"btn_middle 274\nbtn_side 275\nbtn_extra 276\nbtn_forward 277\nbtn_back 278\nbtn_task 279\nbtn_trigger 288\n" +
	"btn_thumb 289\nbtn_thumb2 290\nbtn_top 291\nbtn_top2 292\nbtn_pinkie 293\nbtn_base 294\nbtn_base2 295\n" +
	"btn_base3 296\nbtn_base4 297\nbtn_base5 298\nbtn_base6 299\nbtn_dead 303\nbtn_south 304\nbtn_a 304\n" +
	"btn_east 305\nbtn_b 305\nbtn_c 306\nbtn_north 307\nbtn_x 307\nbtn_west 308\nbtn_y 308\nbtn_z 309\nbtn_tl 310\n" +
	"btn_tr 311\nbtn_tl2 312\nbtn_tr2 313\nbtn_select 314\nbtn_start 315\nbtn_mode 316\nbtn_thumbl 317\n" +
	"btn_thumbr 318\nbtn_tool_pen 320\nbtn_tool_rubber 321\nbtn_tool_brush 322\nbtn_tool_pencil 323\n" +
	"btn_tool_airbrush 324\nbtn_tool_finger 325\nbtn_tool_mouse 326\nbtn_tool_lens 327\nbtn_tool_quinttap 328\n" +
	"btn_stylus3 329\nbtn_touch 330\nbtn_stylus 331\nbtn_stylus2 332\nbtn_tool_doubletap 333\n" +
	"btn_tool_tripletap 334\nbtn_tool_quadtap 335\nbtn_gear_down 336\nbtn_gear_up 337\nok 352\nselect 353\n" +
	"goto 354\nclear 355\npower2 356\noption 357\ninfo 358\ntime 359\nvendor 360\narchive 361\nprogram 362\n" +
	"channel 363\nfavorites 364\nepg 365\npvr 366\nmhp 367\nlanguage 368\ntitle 369\nsubtitle 370\nangle 371\n" +
	"full_screen 372\nzoom 372\nmode 373\nkeyboard 374\naspect_ratio 375\nscreen 375\npc 376\ntv 377\ntv2 378\n" +
	"vcr 379\nvcr2 380\nsat 381\nsat2 382\ncd 383\ntape 384\nradio 385\ntuner 386\nplayer 387\ntext 388\ndvd 389\n" +
	"aux 390\nmp3 391\naudio 392\nvideo 393\ndirectory 394\nlist 395\nmemo 396\ncalendar 397\nred 398\ngreen 399\n" +
	"yellow 400\nblue 401\nchannelup 402\nchanneldown 403\nfirst 404\nlast 405\nab 406\nnext 407\nrestart 408\n" +
	"slow 409\nshuffle 410\nbreak 411\nprevious 412\ndigits 413\nteen 414\ntwen 415\nvideophone 416\ngames 417\n" +
	"zoomin 418\nzoomout 419\nzoomreset 420\nwordprocessor 421\neditor 422\nspreadsheet 423\ngraphicseditor 424\n" +
	"presentation 425\ndatabase 426\nnews 427\nvoicemail 428\naddressbook 429\nmessenger 430\ndisplaytoggle 431\n" +
	"brightness_toggle 431\nspellcheck 432\nlogoff 433\ndollar 434\neuro 435\nframeback 436\nframeforward 437\n" +
	"context_menu 438\nmedia_repeat 439\n10channelsup 440\n10channelsdown 441\nimages 442\n" +
	"notification_center 444\npickup_phone 445\nhangup_phone 446\nlink_phone 447\ndel_eol 448\ndel_eos 449\n" +
	"ins_line 450\ndel_line 451\nfn 464\nfn_esc 465\nfn_f1 466\nfn_f2 467\nfn_f3 468\nfn_f4 469\nfn_f5 470\n" +
	"fn_f6 471\nfn_f7 472\nfn_f8 473\nfn_f9 474\nfn_f10 475\nfn_f11 476\nfn_f12 477\nfn_1 478\nfn_2 479\nfn_d 480\n" +
	"fn_e 481\nfn_f 482\nfn_s 483\nfn_b 484\nfn_right_shift 485\nbrl_dot1 497\nbrl_dot2 498\nbrl_dot3 499\n" +
	"brl_dot4 500\nbrl_dot5 501\nbrl_dot6 502\nbrl_dot7 503\nbrl_dot8 504\nbrl_dot9 505\nbrl_dot10 506\n" +
	"numeric_0 512\nnumeric_1 513\nnumeric_2 514\nnumeric_3 515\nnumeric_4 516\nnumeric_5 517\nnumeric_6 518\n" +
	"numeric_7 519\nnumeric_8 520\nnumeric_9 521\nnumeric_star 522\nnumeric_pound 523\nnumeric_a 524\n" +
	"numeric_b 525\nnumeric_c 526\nnumeric_d 527\ncamera_focus 528\nwps_button 529\ntouchpad_toggle 530\n" +
	"touchpad_on 531\ntouchpad_off 532\ncamera_zoomin 533\ncamera_zoomout 534\ncamera_up 535\ncamera_down 536\n" +
	"camera_left 537\ncamera_right 538\nattendant_on 539\nattendant_off 540\nattendant_toggle 541\n" +
	"lights_toggle 542\nbtn_dpad_up 544\nbtn_dpad_down 545\nbtn_dpad_left 546\nbtn_dpad_right 547\nals_toggle 560\n" +
	"rotate_lock_toggle 561\nrefresh_rate_toggle 562\nbuttonconfig 576\ntaskmanager 577\njournal 578\n" +
	"controlpanel 579\nappselect 580\nscreensaver 581\nvoicecommand 582\nassistant 583\nkbd_layout_next 584\n" +
	"emoji_picker 585\ndictate 586\nbrightness_min 592\nbrightness_max 593\nkbdinputassist_prev 608\n" +
	"kbdinputassist_next 609\nkbdinputassist_prevgroup 610\nkbdinputassist_nextgroup 611\n" +
	"kbdinputassist_accept 612\nkbdinputassist_cancel 613\nright_up 614\nright_down 615\nleft_up 616\n" +
	"left_down 617\nroot_menu 618\nmedia_top_menu 619\nnumeric_11 620\nnumeric_12 621\naudio_desc 622\n" +
	"3d_mode 623\nnext_favorite 624\nstop_record 625\npause_record 626\nvod 627\nunmute 628\nfastreverse 629\n" +
	"slowreverse 630\ndata 631\nonscreen_keyboard 632\nprivacy_screen_toggle 633\nselective_screenshot 634\n" +
	"next_element 635\nprevious_element 636\nautopilot_engage_toggle 637\nmark_waypoint 638\nsos 639\n" +
	"nav_chart 640\nfishing_chart 641\nsingle_range_radar 642\ndual_range_radar 643\nradar_overlay 644\n" +
	"traditional_sonar 645\nclearvu_sonar 646\nsidevu_sonar 647\nnav_info 648\nbrightness_menu 649\nmacro1 656\n" +
	"macro2 657\nmacro3 658\nmacro4 659\nmacro5 660\nmacro6 661\nmacro7 662\nmacro8 663\nmacro9 664\nmacro10 665\n" +
	"macro11 666\nmacro12 667\nmacro13 668\nmacro14 669\nmacro15 670\nmacro16 671\nmacro17 672\nmacro18 673\n" +
	"macro19 674\nmacro20 675\nmacro21 676\nmacro22 677\nmacro23 678\nmacro24 679\nmacro25 680\nmacro26 681\n" +
	"macro27 682\nmacro28 683\nmacro29 684\nmacro30 685\nmacro_record_start 688\nmacro_record_stop 689\n" +
	"macro_preset_cycle 690\nmacro_preset1 691\nmacro_preset2 692\nmacro_preset3 693\nkbd_lcd_menu1 696\n" +
	"kbd_lcd_menu2 697\nkbd_lcd_menu3 698\nkbd_lcd_menu4 699\nkbd_lcd_menu5 700\nbtn_trigger_happy1 704\n" +
	"btn_trigger_happy2 705\nbtn_trigger_happy3 706\nbtn_trigger_happy4 707\nbtn_trigger_happy5 708\n" +
	"btn_trigger_happy6 709\nbtn_trigger_happy7 710\nbtn_trigger_happy8 711\nbtn_trigger_happy9 712\n" +
	"btn_trigger_happy10 713\nbtn_trigger_happy11 714\nbtn_trigger_happy12 715\nbtn_trigger_happy13 716\n" +
	"btn_trigger_happy14 717\nbtn_trigger_happy15 718\nbtn_trigger_happy16 719\nbtn_trigger_happy17 720\n" +
	"btn_trigger_happy18 721\nbtn_trigger_happy19 722\nbtn_trigger_happy20 723\nbtn_trigger_happy21 724\n" +
	"btn_trigger_happy22 725\nbtn_trigger_happy23 726\nbtn_trigger_happy24 727\nbtn_trigger_happy25 728\n" +
	"btn_trigger_happy26 729\nbtn_trigger_happy27 730\nbtn_trigger_happy28 731\nbtn_trigger_happy29 732\n" +
	"btn_trigger_happy30 733\nbtn_trigger_happy31 734\nbtn_trigger_happy32 735\nbtn_trigger_happy33 736\n" +
	"btn_trigger_happy34 737\nbtn_trigger_happy35 738\nbtn_trigger_happy36 739\nbtn_trigger_happy37 740\n" +
	"btn_trigger_happy38 741\nbtn_trigger_happy39 742\nbtn_trigger_happy40 743\n"

// keyCode returns the code of a key's name, as hwdb entries spell it: "volumeup", "key_volumeup", "btn_left".
func keyCode(name string) (uint32, bool) {
	name = strings.TrimPrefix(name, "key_")
	if name == "" || strings.ContainsAny(name, " \n") {
		return 0, false
	}
	_, rest, ok := strings.Cut(keyNames, "\n"+name+" ")
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, "\n")
	code, err := strconv.ParseUint(digits, 10, 32)
	return uint32(code), err == nil
}
