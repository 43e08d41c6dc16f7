"""Spoken sentences of ten languages, of five words or more (Chinese: of eight characters or more).

CHOSE chose the weights of `pipeline.media.text_language`. HELD_OUT was written after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

CHOSE: Mapping[str, str] = {
    "en": """
        We missed the last train home again.
        Could you open the window a bit?
        My sister bought three loaves of bread.
        Nobody told me about the new rules.
        It has been raining since early morning.
        The dog keeps barking at the neighbours.
        Turn left after the second traffic light.
        I would rather stay at home tonight.
        They finished building the bridge last year.
        This soup needs a little more salt.
        Her brother plays the trumpet quite well.
        What time does the library usually close?
        Please write your name on this form.
        The children were singing in the garden.
        You should have called me before dinner.
        There is nothing left in the fridge.
        He walked slowly along the empty beach.
        Let me show you how it works.
        The meeting was moved to next Thursday.
        Our flight was delayed by two hours.
        She forgot her umbrella on the bus.
        The volcano has been quiet for decades.
        I can hardly believe what they said.
        Most of the students passed the exam.
        Put the glasses carefully on the table.
        Why are you laughing at my hat?
        The doctor told him to rest more.
        We grow tomatoes and beans behind the house.
        His answer was not what I expected.
        Every summer they travel to the lake.
    """,
    "de": """
        Wir haben den letzten Zug wieder verpasst.
        Kannst du bitte das Fenster ein wenig öffnen?
        Meine Schwester hat drei Brote gekauft.
        Niemand hat mir von den neuen Regeln erzählt.
        Es regnet schon seit dem frühen Morgen.
        Der Hund bellt ständig die Nachbarn an.
        Biegen Sie nach der zweiten Ampel links ab.
        Ich bleibe heute Abend lieber zu Hause.
        Die Brücke wurde letztes Jahr fertig gebaut.
        In dieser Suppe fehlt noch etwas Salz.
        Ihr Bruder spielt ziemlich gut Trompete.
        Wann macht die Bücherei normalerweise zu?
        Schreiben Sie bitte Ihren Namen auf das Blatt.
        Die Kinder haben im Garten gesungen.
        Du hättest mich vor dem Essen anrufen sollen.
        Im Kühlschrank ist überhaupt nichts mehr.
        Er ging langsam am leeren Strand entlang.
        Ich zeige dir gerne, wie das geht.
        Die Sitzung ist auf nächsten Donnerstag verschoben.
        Unser Flug hatte zwei Stunden Verspätung.
        Sie hat ihren Schirm im Bus vergessen.
        Der Vulkan ist seit Jahrzehnten ruhig.
        Ich kann kaum glauben, was sie gesagt haben.
        Die meisten Schüler haben die Prüfung bestanden.
        Stell die Gläser vorsichtig auf den Tisch.
        Warum lachst du denn über meinen Hut?
        Der Arzt riet ihm zu mehr Ruhe.
        Hinter dem Haus wachsen Tomaten und Bohnen.
        Mit dieser Antwort habe ich nicht gerechnet.
        Jeden Sommer fahren sie an den See.
    """,
    "fr": """
        Nous avons encore raté le dernier train.
        Tu peux ouvrir un peu la fenêtre ?
        Ma sœur a acheté trois pains ce matin.
        Personne ne m'a parlé des nouvelles règles.
        Il pleut depuis très tôt ce matin.
        Le chien aboie toujours après les voisins.
        Tournez à gauche après le deuxième feu.
        Je préfère rester à la maison ce soir.
        Ils ont fini le pont l'année dernière.
        Il manque un peu de sel dans cette soupe.
        Son frère joue assez bien de la trompette.
        À quelle heure ferme la bibliothèque d'habitude ?
        Écrivez votre nom sur cette feuille, s'il vous plaît.
        Les enfants chantaient dans le jardin.
        Tu aurais dû m'appeler avant le dîner.
        Il ne reste plus rien dans le frigo.
        Il marchait lentement le long de la plage vide.
        Je vais te montrer comment ça marche.
        La réunion est reportée à jeudi prochain.
        Notre vol avait deux heures de retard.
        Elle a oublié son parapluie dans le bus.
        Le volcan est calme depuis des décennies.
        J'ai du mal à croire ce qu'ils ont dit.
        La plupart des élèves ont réussi l'examen.
        Pose doucement les verres sur la table.
        Pourquoi est-ce que tu ris de mon chapeau ?
        Le médecin lui a dit de se reposer.
        Des tomates poussent derrière notre vieille maison.
        Je ne m'attendais pas à cette réponse.
        Chaque été, ils partent au bord du lac.
    """,
    "es": """
        Hemos perdido otra vez el último tren.
        ¿Puedes abrir un poco la ventana, por favor?
        Mi hermana compró tres panes esta mañana.
        Nadie me habló de las nuevas reglas.
        Está lloviendo desde muy temprano hoy.
        El perro siempre ladra a los vecinos.
        Gire a la izquierda después del semáforo.
        Prefiero quedarme en casa esta noche.
        Terminaron de construir el puente el año pasado.
        A esta sopa le falta un poco de sal.
        Su hermano toca bastante bien la trompeta.
        ¿A qué hora cierra normalmente la biblioteca?
        Escriba su nombre en esta hoja, por favor.
        Los niños cantaban juntos en el jardín.
        Deberías haberme llamado antes de cenar.
        Ya no queda nada en la nevera.
        Caminaba despacio por la playa vacía.
        Déjame enseñarte cómo funciona esto.
        La reunión se ha movido al jueves.
        Nuestro vuelo salió con dos horas de retraso.
        Ella olvidó su paraguas en el autobús.
        El volcán lleva décadas sin moverse.
        Apenas puedo creer lo que dijeron ayer.
        La mayoría de los alumnos aprobó el examen.
        Pon los vasos con cuidado en la mesa.
        ¿Por qué te ríes de mi sombrero?
        El médico le dijo que descansara más.
        Detrás de la casa crecen tomates y judías.
        Su respuesta no fue la que yo esperaba.
        Cada verano viajan juntos hasta el lago.
    """,
    "it": """
        Abbiamo perso di nuovo l'ultimo treno.
        Puoi aprire un po' la finestra, per favore?
        Mia sorella ha comprato tre pagnotte stamattina.
        Nessuno mi ha parlato delle nuove regole.
        Piove da stamattina presto senza smettere.
        Il cane abbaia sempre ai vicini di casa.
        Giri a sinistra dopo il secondo semaforo.
        Stasera preferisco restare a casa mia.
        Hanno finito il ponte l'anno scorso.
        In questa zuppa manca un po' di sale.
        Suo fratello suona piuttosto bene la tromba.
        A che ora chiude di solito la biblioteca?
        Scriva il suo nome su questo foglio.
        I bambini cantavano insieme nel giardino.
        Avresti dovuto chiamarmi prima di cena.
        Nel frigorifero non è rimasto più niente.
        Camminava lentamente lungo la spiaggia deserta.
        Lascia che ti mostri come funziona.
        La riunione è stata spostata a giovedì.
        Il nostro volo aveva due ore di ritardo.
        Ha dimenticato l'ombrello sull'autobus ieri sera.
        Il vulcano è tranquillo da molti decenni.
        Faccio fatica a credere a quello che dicono.
        Quasi tutti gli studenti hanno superato l'esame.
        Metti i bicchieri sul tavolo con attenzione.
        Perché stai ridendo del mio cappello?
        Il medico gli ha detto di riposare.
        Dietro la casa crescono pomodori e fagioli.
        La sua risposta non era quella che aspettavo.
        Ogni estate vanno insieme al lago.
    """,
    "pt": """
        Perdemos outra vez o último comboio.
        Podes abrir um pouco a janela, por favor?
        A minha irmã comprou três pães hoje.
        Ninguém me falou das novas regras.
        Está a chover desde manhã muito cedo.
        O cão ladra sempre aos nossos vizinhos.
        Vire à esquerda depois do segundo semáforo.
        Prefiro ficar em casa esta noite.
        Acabaram de construir a ponte no ano passado.
        Falta um pouco de sal nesta sopa.
        O irmão dela toca trompete muito bem.
        A que horas fecha normalmente a biblioteca?
        Escreva o seu nome nesta folha, por favor.
        As crianças estavam a cantar no jardim.
        Devias ter-me ligado antes do jantar.
        Não há mais nada no frigorífico.
        Ele andava devagar pela praia vazia.
        Deixa-me mostrar como isto funciona.
        A reunião foi adiada para quinta-feira.
        O nosso voo atrasou-se duas horas.
        Ela esqueceu o guarda-chuva no autocarro.
        O vulcão está calmo há muitas décadas.
        Mal consigo acreditar no que eles disseram.
        A maioria dos alunos passou no exame.
        Ponha os copos com cuidado em cima da mesa.
        Por que você está rindo do meu chapéu?
        O médico disse para ele descansar mais.
        Atrás da casa crescem tomates e feijões.
        A resposta não foi a que eu esperava.
        Todos os verões eles viajam até ao lago.
    """,
    "nl": """
        We hebben weer de laatste trein gemist.
        Kun je het raam een beetje openzetten?
        Mijn zus heeft drie broden gekocht.
        Niemand heeft mij over de nieuwe regels verteld.
        Het regent al sinds vanmorgen heel vroeg.
        De hond blaft altijd naar de buren.
        Sla linksaf na het tweede stoplicht.
        Ik blijf vanavond liever gewoon thuis.
        Ze hebben de brug vorig jaar afgebouwd.
        Er moet nog wat zout in deze soep.
        Haar broer speelt best goed trompet.
        Hoe laat sluit de bibliotheek meestal?
        Schrijf uw naam alstublieft op dit formulier.
        De kinderen zaten in de tuin te zingen.
        Je had me voor het eten moeten bellen.
        Er ligt helemaal niets meer in de koelkast.
        Hij liep langzaam over het lege strand.
        Ik laat je even zien hoe het werkt.
        De vergadering is verplaatst naar volgende week donderdag.
        Onze vlucht had twee uur vertraging.
        Ze heeft haar paraplu in de bus laten liggen.
        De vulkaan is al tientallen jaren rustig.
        Ik kan nauwelijks geloven wat ze zeiden.
        De meeste leerlingen zijn voor het examen geslaagd.
        Zet de glazen voorzichtig op de tafel.
        Waarom lach je toch om mijn hoed?
        De dokter zei dat hij meer moest rusten.
        Achter het huis groeien tomaten en bonen.
        Dat antwoord had ik echt niet verwacht.
        Elke zomer gaan ze samen naar het meer.
    """,
    "pl": """
        Znowu spóźniliśmy się na ostatni pociąg.
        Czy możesz trochę uchylić to okno?
        Moja siostra kupiła dziś trzy chleby.
        Nikt mi nie powiedział o nowych zasadach.
        Pada deszcz od wczesnego rana.
        Pies ciągle szczeka na naszych sąsiadów.
        Proszę skręcić w lewo za drugim światłem.
        Dziś wieczorem wolę zostać w domu.
        Skończyli budować most w zeszłym roku.
        W tej zupie brakuje trochę soli.
        Jej brat całkiem dobrze gra na trąbce.
        O której godzinie zwykle zamykają bibliotekę?
        Proszę napisać swoje nazwisko na tej kartce.
        Dzieci śpiewały razem w dużym ogrodzie.
        Powinieneś był zadzwonić do mnie przed kolacją.
        W lodówce nie ma już nic do jedzenia.
        Szedł powoli wzdłuż pustej plaży.
        Pokażę ci teraz, jak to działa.
        Zebranie przesunięto na przyszły czwartek.
        Nasz lot miał dwie godziny opóźnienia.
        Zapomniała wczoraj parasola w autobusie.
        Wulkan jest spokojny od wielu lat.
        Ledwo mogę uwierzyć w to, co mówili.
        Większość uczniów zdała ten trudny egzamin.
        Postaw szklanki ostrożnie na tym stole.
        Dlaczego śmiejesz się z mojego kapelusza?
        Lekarz kazał mu więcej odpoczywać.
        Za naszym domem rosną pomidory i fasola.
        Nie takiej odpowiedzi się od niego spodziewałem.
        Każdego lata jeżdżą razem nad jezioro.
    """,
    "ru": """
        Мы опять опоздали на последний поезд.
        Ты можешь немного открыть это окно?
        Моя сестра купила сегодня три батона.
        Никто не сказал мне о новых правилах.
        Дождь идёт с самого раннего утра.
        Собака всё время лает на соседей.
        После второго светофора поверните налево.
        Сегодня вечером я лучше останусь дома.
        Мост достроили только в прошлом году.
        В этом супе не хватает немного соли.
        Её брат довольно хорошо играет на трубе.
        Во сколько обычно закрывается ваша библиотека?
        Напишите, пожалуйста, своё имя на листе.
        Дети вместе пели песни в саду.
        Тебе надо было позвонить мне до ужина.
        В холодильнике больше ничего не осталось.
        Он медленно шёл по пустому берегу.
        Давай я покажу тебе, как это работает.
        Собрание перенесли на следующий четверг.
        Наш рейс задержали на два часа.
        Она вчера забыла зонтик в автобусе.
        Этот вулкан спит уже много лет.
        Мне трудно поверить в то, что они сказали.
        Почти все ученики сдали этот экзамен.
        Поставь стаканы осторожно на этот стол.
        Почему ты смеёшься над моей шляпой?
        Врач велел ему больше отдыхать.
        За нашим домом растут помидоры и фасоль.
        Я ждал от него совсем другого ответа.
        Каждое лето они ездят вместе на озеро.
    """,
    "zh": """
        我们又错过了最后一班火车。
        你能把窗户打开一点吗？
        我妹妹今天买了三个面包。
        没有人告诉我新的规定。
        从早上开始一直在下雨。
        那只狗总是对着邻居叫。
        过了第二个红绿灯请左转。
        今天晚上我宁愿待在家里。
        这座桥去年才修好。
        这个汤还需要一点盐。
        她哥哥小号吹得很不错。
        图书馆平时几点关门呢？
        请把您的名字写在这张纸上。
        孩子们正在花园里唱歌。
        你应该在晚饭前给我打电话。
        冰箱里什么东西都没有了。
        他沿着空荡荡的海滩慢慢地走。
        让我告诉你这个怎么用。
        会议改到下个星期四了。
        我们的航班晚点了两个小时。
        她昨天把雨伞忘在公交车上了。
        这座火山已经安静了几十年。
        我几乎不敢相信他们说的话。
        大部分学生都通过了考试。
        请把杯子小心地放在桌子上。
        你为什么笑我的帽子？
        医生让他多休息几天。
        我们在房子后面种了西红柿。
        他的回答跟我想的不一样。
        他们每年夏天都去湖边旅行。
    """,
}
HELD_OUT: Mapping[str, str] = {
    "en": """
        The old clock in the hall has stopped.
        Have you ever eaten raw fish before?
        Scientists discovered a new planet last week.
        Be careful with that knife, it is sharp.
        My grandfather built this boat by himself.
        The price of bread went up again.
        Do not forget to feed the cat tonight.
        Two men were standing near the gate.
        She speaks four languages without any accent.
        The water in the pool is freezing.
        Everyone applauded when the singer came back.
        I lost my keys somewhere in the park.
        This road leads straight to the castle.
        How long have you been waiting here?
        The government announced new taxes on fuel.
        We need more chairs for the party.
        Add the flour and stir it gently.
        The bird built its nest above our door.
        Nothing ever happens in this little town.
        Take the blue pill twice a day.
        His shoes were covered with fresh mud.
        The goalkeeper saved the ball at the last second.
        Can anybody help me carry this box?
        Our teacher never raises her voice.
        The whole building was shaking for a minute.
        You can pay with cash or card.
        I dreamed about flying over the mountains.
        The lights went out during the storm.
        Who left these dirty plates on the sofa?
        They have known each other since childhood.
    """,
    "de": """
        Die alte Uhr im Flur ist stehen geblieben.
        Hast du schon einmal rohen Fisch gegessen?
        Forscher haben letzte Woche einen Planeten entdeckt.
        Sei vorsichtig mit dem Messer, es ist scharf.
        Mein Großvater hat dieses Boot selbst gebaut.
        Der Preis für Brot ist wieder gestiegen.
        Vergiss heute Abend nicht, die Katze zu füttern.
        Zwei Männer standen neben dem großen Tor.
        Sie spricht vier Sprachen ohne jeden Akzent.
        Das Wasser im Becken ist eiskalt.
        Alle klatschten, als die Sängerin zurückkam.
        Ich habe meine Schlüssel im Park verloren.
        Diese Straße führt direkt zum Schloss.
        Wie lange warten Sie denn schon hier?
        Die Regierung hat neue Steuern angekündigt.
        Für die Feier brauchen wir mehr Stühle.
        Geben Sie das Mehl hinzu und rühren Sie vorsichtig.
        Der Vogel baute sein Nest über unserer Tür.
        In dieser kleinen Stadt passiert nie etwas.
        Nehmen Sie die blaue Tablette zweimal täglich.
        Seine Schuhe waren voller frischem Schlamm.
        Der Torwart hielt den Ball in letzter Sekunde.
        Kann mir jemand beim Tragen helfen?
        Unsere Lehrerin wird niemals laut.
        Das ganze Gebäude hat eine Minute lang gewackelt.
        Sie können bar oder mit Karte zahlen.
        Ich träumte, ich fliege über die Berge.
        Während des Sturms ging das Licht aus.
        Wer hat die schmutzigen Teller hier stehen lassen?
        Die beiden kennen sich seit ihrer Kindheit.
    """,
    "fr": """
        La vieille horloge du couloir s'est arrêtée.
        As-tu déjà mangé du poisson cru ?
        Des chercheurs ont découvert une planète la semaine dernière.
        Fais attention à ce couteau, il coupe bien.
        Mon grand-père a construit ce bateau tout seul.
        Le prix du pain a encore augmenté.
        N'oublie pas de nourrir le chat ce soir.
        Deux hommes se tenaient près du portail.
        Elle parle quatre langues sans aucun accent.
        L'eau de la piscine est vraiment glacée.
        Tout le monde a applaudi quand elle est revenue.
        J'ai perdu mes clés quelque part dans le parc.
        Cette route mène tout droit au château.
        Depuis combien de temps attendez-vous ici ?
        Le gouvernement annonce de nouvelles taxes sur l'essence.
        Il nous faut plus de chaises pour la fête.
        Ajoutez la farine et mélangez doucement le tout.
        L'oiseau a fait son nid au-dessus de la porte.
        Il ne se passe jamais rien dans cette petite ville.
        Prenez le comprimé bleu deux fois par jour.
        Ses chaussures étaient couvertes de boue fraîche.
        Le gardien a arrêté le ballon à la dernière seconde.
        Quelqu'un peut m'aider à porter ce carton ?
        Notre professeure ne crie jamais en classe.
        Tout l'immeuble a tremblé pendant une minute.
        Vous pouvez payer par carte ou en espèces.
        J'ai rêvé que je volais au-dessus des montagnes.
        La lumière s'est éteinte pendant l'orage.
        Qui a laissé ces assiettes sales sur le canapé ?
        Ils se connaissent depuis leur plus jeune âge.
    """,
    "es": """
        El viejo reloj del pasillo se ha parado.
        ¿Has comido alguna vez pescado crudo?
        Unos científicos descubrieron un planeta la semana pasada.
        Ten cuidado con ese cuchillo, corta mucho.
        Mi abuelo construyó este barco él solo.
        El precio del pan ha vuelto a subir.
        No olvides dar de comer al gato.
        Dos hombres estaban de pie junto a la puerta.
        Ella habla cuatro idiomas sin ningún acento.
        El agua de la piscina está helada.
        Todos aplaudieron cuando volvió la cantante.
        Perdí mis llaves en algún lugar del parque.
        Esta carretera lleva directamente al castillo.
        ¿Cuánto tiempo lleva usted esperando aquí?
        El gobierno anunció nuevos impuestos a la gasolina.
        Necesitamos más sillas para la fiesta.
        Añada la harina y remueva con suavidad.
        El pájaro hizo su nido sobre nuestra puerta.
        En este pueblo nunca pasa nada interesante.
        Tome la pastilla azul dos veces al día.
        Sus zapatos estaban llenos de barro fresco.
        El portero paró el balón en el último segundo.
        ¿Alguien me ayuda a llevar esta caja?
        Nuestra profesora nunca levanta la voz.
        Todo el edificio tembló durante un minuto.
        Se puede pagar en efectivo o con tarjeta.
        Soñé que volaba por encima de las montañas.
        La luz se fue durante la tormenta.
        ¿Quién dejó estos platos sucios en el sofá?
        Se conocen desde que eran niños pequeños.
    """,
    "it": """
        Il vecchio orologio del corridoio si è fermato.
        Hai mai mangiato il pesce crudo?
        Gli scienziati hanno scoperto un pianeta la settimana scorsa.
        Attento a quel coltello, taglia molto bene.
        Mio nonno ha costruito questa barca da solo.
        Il prezzo del pane è aumentato ancora.
        Non dimenticare di dare da mangiare al gatto.
        Due uomini stavano in piedi vicino al cancello.
        Lei parla quattro lingue senza nessun accento.
        L'acqua della piscina è davvero gelida.
        Tutti hanno applaudito quando la cantante è tornata.
        Ho perso le chiavi da qualche parte nel parco.
        Questa strada porta dritto al castello.
        Da quanto tempo sta aspettando qui?
        Il governo ha annunciato nuove tasse sulla benzina.
        Ci servono altre sedie per la festa.
        Aggiungete la farina e mescolate delicatamente.
        L'uccello ha fatto il nido sopra la porta.
        In questo paesino non succede mai niente.
        Prenda la pastiglia blu due volte al giorno.
        Le sue scarpe erano coperte di fango fresco.
        Il portiere ha parato il pallone all'ultimo secondo.
        Qualcuno mi aiuta a portare questa scatola?
        La nostra maestra non alza mai la voce.
        Tutto il palazzo ha tremato per un minuto.
        Si può pagare in contanti o con la carta.
        Ho sognato di volare sopra le montagne.
        Durante il temporale è andata via la luce.
        Chi ha lasciato questi piatti sporchi sul divano?
        Si conoscono da quando erano bambini piccoli.
    """,
    "pt": """
        O velho relógio do corredor parou de andar.
        Você já comeu peixe cru alguma vez?
        Cientistas descobriram um planeta na semana passada.
        Cuidado com essa faca, ela corta muito.
        Meu avô construiu este barco sozinho.
        O preço do pão subiu outra vez.
        Não se esqueça de dar comida ao gato.
        Dois homens estavam parados perto do portão.
        Ela fala quatro línguas sem nenhum sotaque.
        A água da piscina está muito gelada.
        Todos aplaudiram quando a cantora voltou.
        Perdi as minhas chaves em algum lugar do parque.
        Esta estrada vai direto até o castelo.
        Há quanto tempo o senhor está esperando aqui?
        O governo anunciou novos impostos sobre a gasolina.
        Precisamos de mais cadeiras para a festa.
        Junte a farinha e mexa com cuidado.
        O pássaro fez o ninho em cima da porta.
        Nesta cidadezinha nunca acontece nada.
        Tome o comprimido azul duas vezes ao dia.
        Os sapatos dele estavam cheios de lama.
        O goleiro defendeu a bola no último segundo.
        Alguém pode me ajudar com esta caixa?
        A nossa professora nunca levanta a voz.
        O prédio inteiro tremeu durante um minuto.
        Pode pagar em dinheiro ou com cartão.
        Sonhei que voava por cima das montanhas.
        A luz foi embora durante a tempestade.
        Quem deixou estes pratos sujos no sofá?
        Eles se conhecem desde que eram crianças.
    """,
    "nl": """
        De oude klok in de gang staat stil.
        Heb je ooit rauwe vis gegeten?
        Onderzoekers hebben vorige week een planeet ontdekt.
        Wees voorzichtig met dat mes, het is scherp.
        Mijn opa heeft deze boot zelf gebouwd.
        De prijs van brood is weer gestegen.
        Vergeet vanavond niet de kat te voeren.
        Twee mannen stonden bij de grote poort.
        Ze spreekt vier talen zonder enig accent.
        Het water in het zwembad is ijskoud.
        Iedereen klapte toen de zangeres terugkwam.
        Ik ben mijn sleutels ergens in het park verloren.
        Deze weg loopt rechtstreeks naar het kasteel.
        Hoe lang staat u hier al te wachten?
        De regering kondigt nieuwe belastingen op benzine aan.
        We hebben meer stoelen nodig voor het feest.
        Voeg de bloem toe en roer voorzichtig.
        De vogel bouwde zijn nest boven onze deur.
        In dit kleine stadje gebeurt nooit iets.
        Neem de blauwe pil twee keer per dag.
        Zijn schoenen zaten onder de verse modder.
        De keeper redde de bal in de laatste seconde.
        Kan iemand mij helpen met deze doos?
        Onze juf verheft nooit haar stem.
        Het hele gebouw stond een minuut te schudden.
        U kunt contant of met de kaart betalen.
        Ik droomde dat ik over de bergen vloog.
        Tijdens het onweer viel het licht uit.
        Wie heeft die vuile borden op de bank gezet?
        Ze kennen elkaar al sinds hun jeugd.
    """,
    "pl": """
        Stary zegar na korytarzu przestał chodzić.
        Czy jadłeś kiedyś surową rybę?
        Naukowcy odkryli w zeszłym tygodniu nową planetę.
        Uważaj z tym nożem, jest bardzo ostry.
        Mój dziadek sam zbudował tę łódkę.
        Cena chleba znowu poszła w górę.
        Nie zapomnij dziś nakarmić naszego kota.
        Dwaj mężczyźni stali obok dużej bramy.
        Ona mówi czterema językami bez akcentu.
        Woda w tym basenie jest lodowata.
        Wszyscy klaskali, kiedy piosenkarka wróciła na scenę.
        Zgubiłem klucze gdzieś w tym parku.
        Ta droga prowadzi prosto do zamku.
        Jak długo pan już tutaj czeka?
        Rząd zapowiedział nowe podatki od paliwa.
        Potrzebujemy więcej krzeseł na przyjęcie.
        Proszę dodać mąkę i delikatnie wymieszać.
        Ptak zbudował gniazdo nad naszymi drzwiami.
        W tym małym miasteczku nigdy nic się nie dzieje.
        Proszę brać niebieską tabletkę dwa razy dziennie.
        Jego buty były całe w błocie.
        Bramkarz obronił piłkę w ostatniej sekundzie.
        Czy ktoś pomoże mi nieść to pudło?
        Nasza nauczycielka nigdy nie podnosi głosu.
        Cały budynek trząsł się przez minutę.
        Można zapłacić gotówką albo kartą.
        Śniło mi się, że latam nad górami.
        Podczas burzy w domu zgasło światło.
        Kto zostawił te brudne talerze na kanapie?
        Oni znają się od wczesnego dzieciństwa.
    """,
    "ru": """
        Старые часы в коридоре давно остановились.
        Ты когда-нибудь ел сырую рыбу?
        Учёные открыли на прошлой неделе новую планету.
        Осторожно с этим ножом, он очень острый.
        Мой дедушка сам построил эту лодку.
        Цена на хлеб снова немного выросла.
        Не забудь сегодня вечером покормить кошку.
        Двое мужчин стояли возле больших ворот.
        Она говорит на четырёх языках без акцента.
        Вода в этом бассейне просто ледяная.
        Все захлопали, когда певица вернулась на сцену.
        Я потерял ключи где-то в парке.
        Эта дорога ведёт прямо к замку.
        Как долго вы здесь уже ждёте?
        Правительство объявило о новых налогах на бензин.
        Нам нужно больше стульев для праздника.
        Добавьте муку и осторожно всё перемешайте.
        Птица свила гнездо прямо над нашей дверью.
        В этом маленьком городе ничего не происходит.
        Принимайте синюю таблетку два раза в день.
        Его ботинки были все в грязи.
        Вратарь поймал мяч в последнюю секунду.
        Кто-нибудь поможет мне нести эту коробку?
        Наша учительница никогда не кричит на нас.
        Всё здание дрожало целую минуту.
        Можно заплатить наличными или картой.
        Мне снилось, что я летаю над горами.
        Во время грозы у нас погас свет.
        Кто оставил эти грязные тарелки на диване?
        Они знают друг друга с самого детства.
    """,
    "zh": """
        走廊里的旧钟早就停了。
        你以前吃过生鱼片吗？
        科学家上周发现了一颗新的行星。
        小心那把刀，它非常锋利。
        我爷爷自己造了这条船。
        面包的价格又上涨了不少。
        今天晚上别忘了喂猫。
        有两个男人站在大门旁边。
        她会说四种语言而且没有口音。
        游泳池里的水冷得要命。
        歌手回到台上的时候大家都鼓掌了。
        我把钥匙丢在公园的某个地方了。
        这条路一直通到那座城堡。
        您在这里等了多长时间了？
        政府宣布要对汽油征收新的税。
        聚会还需要多准备几把椅子。
        加入面粉以后轻轻地搅拌。
        小鸟在我们的门上面做了窝。
        这个小镇上从来不会发生什么事。
        蓝色的药片每天吃两次。
        他的鞋子上全都是泥巴。
        守门员在最后一秒扑住了球。
        有谁能帮我搬一下这个箱子？
        我们的老师从来不会大声说话。
        整栋大楼摇晃了一分钟。
        您可以付现金或者刷卡。
        我梦见自己在山上飞来飞去。
        下暴雨的时候突然停电了。
        是谁把脏盘子放在沙发上的？
        他们从小的时候就认识了。
    """,
}


def sentences(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each sentence."""
    for language, text in texts.items():
        yield from ((language, line.strip()) for line in text.strip().splitlines())
